"""Any provider LiteLLM knows, with retries where a retry can help."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from stm_agent.errors import ConfigError, GenerationError
from stm_agent.llm.client import TRIES, Answer, Messages

if TYPE_CHECKING:
    from tenacity import Retrying

LONGEST = 60.0
READ_ONLY = "Item.* on TypedDict class .* using the `ReadOnly` qualifier"
"""pydantic's remark about LiteLLM's own answer types; neither is the user's to mend."""


class LiteLlmProvider:
    """Answers by ``litellm.completion``."""

    def __init__(
        self,
        model: str,
        api_base: str | None = None,
        api_key: str | None = None,
        extra_body: Mapping[str, object] | None = None,
        *,
        patience: float | None = None,
        tries: int = TRIES,
    ) -> None:
        """Take a LiteLLM model name, for example ``openai/gpt-5-mini``.

        ``extra_body`` is sent with every request, for what a server knows beyond OpenAI's fields. ``patience`` is how
        many seconds a server may say nothing before it is given up for good; None leaves it to LiteLLM, with retries.
        ``tries`` is how often a server that is busy or away is asked.

        Raises:
            ConfigError: LiteLLM knows no such provider.
        """
        # Without it LiteLLM asks the network for prices when it is imported, and waits for an answer.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import litellm

        self.model, self.api_base, self.api_key = model, api_base, api_key
        self.extra_body, self.patience, self.tries = dict(extra_body or {}), patience, tries
        litellm.suppress_debug_info = True
        warnings.filterwarnings("ignore", message=READ_ONLY)
        try:
            litellm.get_llm_provider(model)
        except Exception as error:  # LiteLLM raises its own BadRequestError here, and others for odd names
            near = difflib.get_close_matches(model, litellm.model_list, n=1)
            hint = f"did you mean {near[0]}?" if near else "use provider/name, for example openai/gpt-5-mini"
            raise ConfigError(f"LiteLLM does not know the generator '{model}'; {hint}") from error

    def answer(self, messages: Messages, *, temperature: float, max_tokens: int, seed: int) -> Answer:
        """Answer a chat; waits and tries again on rate limits, time-outs and server faults.

        Raises:
            GenerationError: The provider refuses, or stays away after all tries.
        """
        import openai

        try:
            found = self._tries()(self._send, messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        except openai.OpenAIError as error:
            raise self._fault(error, "failed") from error
        return self._read(found)

    def stream(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int
    ) -> Generator[str, None, Answer]:
        """Answer a chat piece by piece; waits and tries again only before the first piece.

        An empty piece goes before every further try: whoever does not want it any more can close the stream there.

        Raises:
            GenerationError: The provider refuses, stays away, or dies on the way.
        """
        import litellm
        import openai

        chunks = yield from self._begun(messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        heard = []
        try:
            for chunk in chunks:
                heard.append(chunk)
                if chunk.choices and (piece := chunk.choices[0].delta.content):
                    yield piece
        except openai.OpenAIError as error:
            raise self._fault(error, "broke off") from error
        # LiteLLM ends a stream as if it were whole, also where the server never said that it was.
        if chunks.received_finish_reason is None:
            raise GenerationError(f"{self.model} broke off: the connection ended before the answer did; ask again")
        return self._read(litellm.stream_chunk_builder(heard, messages=[dict(message) for message in messages]))

    def _begun(self, messages: Messages, **settings: Any) -> Generator[str, None, Any]:  # noqa: ANN401 - a stream
        import openai

        more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        try:
            for attempt in self._tries():
                if attempt.retry_state.attempt_number > 1:
                    yield ""
                with attempt:
                    chunks = self._send(messages, **settings, **more)
        except openai.OpenAIError as error:
            raise self._fault(error, "failed") from error
        return chunks

    def _tries(self) -> Retrying:
        import litellm
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

        passing: tuple[type[Exception], ...] = (
            litellm.exceptions.RateLimitError,
            litellm.exceptions.APIConnectionError,
            litellm.exceptions.InternalServerError,
            litellm.exceptions.ServiceUnavailableError,
        )
        if self.patience is None:
            passing = (*passing, litellm.exceptions.Timeout)
        return Retrying(
            retry=retry_if_exception_type(passing), stop=stop_after_attempt(self.tries), wait=_wait, reraise=True
        )

    def _send(self, messages: Messages, **settings: Any) -> Any:  # noqa: ANN401 - litellm's response or stream
        import litellm

        return litellm.completion(
            model=self.model,
            messages=[dict(message) for message in messages],
            **settings,
            drop_params=True,
            api_base=self.api_base,
            api_key=self.api_key,
            extra_body=self.extra_body or None,
            timeout=self.patience,
            num_retries=0,
        )

    def _fault(self, error: Exception, what: str) -> GenerationError:
        import litellm

        if _unreachable(error):
            place = f" at {_without_secrets(self.api_base)}" if self.api_base else ""
            return GenerationError(f"{self.model} cannot be reached{place}; see whether its server runs")
        if isinstance(error, litellm.exceptions.AuthenticationError):
            return GenerationError(f"{self.model} refuses the API key; set the provider's key variable")
        # On the way, LiteLLM tells it only in the words of another error.
        late = isinstance(error, litellm.exceptions.Timeout) or "timed out" in str(error)
        if self.patience is not None and late:
            return GenerationError(
                f"{self.model} said nothing for {self.patience:g} seconds; see whether its server runs"
            )
        return GenerationError(f"{self.model} {what}: {str(error).splitlines()[0][:300]}")

    def _read(self, response: Any) -> Answer:  # noqa: ANN401 - litellm's ModelResponse
        import litellm

        try:
            price: float | None = float(litellm.completion_cost(completion_response=response))
        except Exception:
            price = None
        usage = response.usage
        return Answer(response.choices[0].message.content or "", usage.prompt_tokens, usage.completion_tokens, price)

    def close(self) -> None:
        """Nothing is held."""


def _unreachable(error: BaseException) -> bool:
    """Return whether nobody answered at all: each provider's package tells it in words of its own."""
    import httpx

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, httpx.ConnectError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _without_secrets(url: str) -> str:
    """Return an address without what follows it, or stands before its host: either may be a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _wait(state: Any) -> float:  # noqa: ANN401 - tenacity's RetryCallState
    """Wait as the provider asks (retry-after), else 1, 2, 4 ... seconds."""
    error = state.outcome.exception()
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return min(float(headers["retry-after"]), LONGEST)
    except (KeyError, ValueError):
        return float(min(2.0 ** (state.attempt_number - 1), LONGEST))
