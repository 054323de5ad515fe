"""Any provider LiteLLM knows, with retries if a retry can help."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Required, TypedDict, Unpack

from stm_agent.errors import AnswerRejected, ConfigError, GenerationError, raised_as
from stm_agent.llm.answer import NO_ANSWER, TRIES, Answer, Messages
from stm_agent.llm.provider_faults import fault_of
from stm_agent.llm.retrying import retrying, tries_of
from stm_agent.llm.tokens import chat_tokens, rough_tokens

if TYPE_CHECKING:
    from tenacity import Retrying

READ_ONLY = "Item.* on TypedDict class .* using the `ReadOnly` qualifier"
"""pydantic's remark about types inside LiteLLM and its SDKs, which only their authors can change."""


class Sampling(TypedDict, total=False):
    """What is sent with a chat beside its limit, by the names of :func:`litellm.completion`."""

    temperature: Required[float]
    seed: Required[int]
    extra_body: Mapping[str, object] | None
    response_format: dict[str, object]
    stream: bool
    stream_options: dict[str, bool]


class Settings(Sampling):
    """The same with the limit of the answer."""

    max_tokens: int


class LiteLlmProvider:
    """Answers by ``litellm.completion``."""

    def __init__(
        self,
        model: str,
        api_base: str | None = None,
        api_key: str | None = None,
        *,
        patience: float | None = None,
        tries: int = TRIES,
        headroom: int = 0,
    ) -> None:
        """Take a LiteLLM model name, for example ``openai/gpt-5-mini``.

        Args:
            model: The name.
            api_base: Address of an OpenAI-compatible server.
            api_key: Key of the provider; None: the environment's.
            patience: Seconds a server may stay silent before it is given up for good; None: LiteLLM's, with retries.
            tries: How often a server that is busy or away is asked.
            headroom: Tokens added to each limit for a reasoning model's thoughts.

        Raises:
            ConfigError: LiteLLM knows no such provider.
        """
        # Without it LiteLLM asks the network for prices when it is imported, and waits for an answer.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import litellm

        self.model, self.api_base, self.api_key = model, api_base, api_key
        self.patience, self.tries, self.headroom = patience, tries, headroom
        litellm.suppress_debug_info = True
        warnings.filterwarnings("ignore", message=READ_ONLY)
        # LiteLLM raises its own BadRequestError here, and others for odd names.
        with raised_as(lambda error: _unknown(model)):
            litellm.get_llm_provider(model)

    def answer(
        self,
        messages: Messages,
        *,
        temperature: float,
        max_tokens: int,
        seed: int,
        extra_body: Mapping[str, object] | None = None,
    ) -> Answer:
        """Answer a chat; waits and tries again on rate limits, time-outs and server faults.

        Args:
            messages: The chat.
            temperature: Sampling temperature.
            max_tokens: Ceiling of the answer.
            seed: Seed of the sampler.
            extra_body: Sent with the request, for what a server knows beyond OpenAI's fields.

        Raises:
            AnswerRejected: The provider refuses this chat, or fails on it after all tries.
            GenerationError: The provider refuses every chat, or stays away after all tries.
        """
        return self._whole(messages, temperature=temperature, max_tokens=max_tokens, seed=seed, extra_body=extra_body)

    def answer_by_schema(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int, schema: Mapping[str, object]
    ) -> Answer:
        """Answer a chat with a JSON document; all else is as in :meth:`answer`.

        Raises:
            AnswerRejected: The provider refuses this chat or the schema, or fails on it after all tries.
            GenerationError: The provider refuses every chat, or stays away after all tries.
        """
        return self._whole(
            messages, temperature=temperature, max_tokens=max_tokens, seed=seed, response_format=dict(schema)
        )

    def _whole(self, messages: Messages, **settings: Unpack[Settings]) -> Answer:
        import openai

        attempts = retrying(self.tries, self.patience)
        try:
            response = attempts(self._send, messages, **settings)
        except openai.OpenAIError as error:
            raise self._fault(error, "failed", tries_of(attempts)) from error
        return self._read(response, messages, tries_of(attempts))

    def stream(
        self,
        messages: Messages,
        *,
        temperature: float,
        max_tokens: int,
        seed: int,
        extra_body: Mapping[str, object] | None = None,
    ) -> Generator[str, None, Answer]:
        """Answer a chat piece by piece; waits and tries again only before the first piece.

        An empty piece goes before every further try: a reader that has left can close the stream there. Arguments are
        those of :meth:`answer`.

        Raises:
            AnswerRejected: The provider refuses this chat, or the connection breaks.
            GenerationError: The provider refuses every chat, or stays away after all tries.
        """
        import litellm
        import openai

        attempts = retrying(self.tries, self.patience)
        chunks = yield from self._begin(
            attempts, messages, temperature=temperature, max_tokens=max_tokens, seed=seed, extra_body=extra_body
        )
        received = []
        try:
            for chunk in chunks:
                received.append(chunk)
                if chunk.choices and (piece := chunk.choices[0].delta.content):
                    yield piece
        except openai.OpenAIError as error:
            raise self._fault(error, "broke off", tries_of(attempts)) from error
        # LiteLLM ends a stream as if it were whole, even if the server never finished it.
        if chunks.received_finish_reason is None:
            broken = AnswerRejected(
                f"{self.model} broke off: the connection ended before the answer did; ask again", NO_ANSWER
            )
            broken.tries = tries_of(attempts)
            raise broken
        whole = litellm.stream_chunk_builder(received, messages=[dict(message) for message in messages])
        return self._read(whole, messages, tries_of(attempts))

    def _begin(
        self,
        attempts: Retrying,
        messages: Messages,
        **settings: Unpack[Settings],
    ) -> Generator[str, None, Any]:
        import openai

        streamed: Settings = {**settings, "stream": True, "stream_options": {"include_usage": True}}
        try:
            for attempt in attempts:
                if attempt.retry_state.attempt_number > 1:
                    yield ""
                with attempt:
                    chunks = self._send(messages, **streamed)
        except openai.OpenAIError as error:
            raise self._fault(error, "failed", tries_of(attempts)) from error
        return chunks

    def _send(self, messages: Messages, *, max_tokens: int, **settings: Unpack[Sampling]) -> object:
        import litellm

        return litellm.completion(
            model=self.model,
            messages=[dict(message) for message in messages],
            # Thoughts count against this limit; LiteLLM sends it under the name that the model takes.
            max_tokens=max_tokens + self.headroom,
            **settings,
            drop_params=True,
            api_base=self.api_base,
            api_key=self.api_key,
            timeout=self.patience,
            num_retries=0,
        )

    def _fault(self, error: Exception, event: str, tries: int) -> GenerationError:
        fault = fault_of(error, event, model=self.model, api_base=self.api_base, patience=self.patience)
        fault.tries = tries
        return fault

    def _read(self, response: object, messages: Messages, tries: int) -> Answer:
        import litellm

        try:
            price: float | None = float(litellm.completion_cost(completion_response=response))
        except Exception:  # LiteLLM raises plain Exceptions for models without a price
            price = None
        choices = getattr(response, "choices", None) or []
        message = choices[0].message if choices else None
        text, thoughts = getattr(message, "content", None) or "", getattr(message, "reasoning_content", None)
        usage = getattr(response, "usage", None)
        reason = choices[0].finish_reason if choices else None
        # LiteLLM keeps OpenAI's field among those it does not know.
        if not text and (getattr(message, "provider_specific_fields", None) or {}).get("refusal"):
            reason = "refusal"
        return Answer(
            text=text,
            prompt_tokens=getattr(usage, "prompt_tokens", None) or chat_tokens(messages),
            completion_tokens=getattr(usage, "completion_tokens", None) or (rough_tokens(text) if text else 0),
            usd=price,
            finish_reason=reason,
            reasoning=thoughts,
            tries=tries,
        )

    def close(self) -> None:
        """Do nothing: no resource is held."""


def _unknown(model: str) -> ConfigError:
    import litellm

    near = difflib.get_close_matches(model, litellm.model_list, n=1)
    hint = f"did you mean {near[0]}?" if near else "use provider/name, for example openai/gpt-5-mini"
    return ConfigError(f"LiteLLM does not know the generator '{model}'; {hint}")
