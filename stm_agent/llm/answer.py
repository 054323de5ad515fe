"""The seam to LLM providers: what is sent, what comes back, and which answers can be used at all."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from stm_agent.errors import AnswerRejected
from stm_agent.llm.budget import Spending

TRIES = 5
"""How often a server that is busy or away is asked before it is given up."""

Messages = Sequence[Mapping[str, str]]

EMPTY = "empty"
CUT_OFF = "cut off"
FILTERED = "content filter"
REFUSAL = "refusal"
TOO_LONG = "longer than the context"
BAD_REQUEST = "refused by the provider"
NOT_ASKED = "not asked"
"""The LLM or its budget had given out before."""
LEFT, BROKEN = "left", "broken"
"""The answer broke off: whoever asked left it, or the connection ended."""
NO_ANSWER = "no answer"
"""The provider stayed silent or failed: asking again may help, so it is not remembered."""


@dataclass(frozen=True)
class Answer:
    """One answer of a provider, usable or not.

    Attributes:
        text: The answer; empty if there is none.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written, thoughts included.
        usd: Price in US dollars; None if unknown.
        finish_reason: Why the model stopped: ``stop``, ``length``, ``content_filter`` ...; None if unknown.
        reasoning: Thoughts that the provider returned beside the answer.
        tries: How often the provider was asked until it answered.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    finish_reason: str | None = "stop"
    reasoning: str | None = None
    tries: int = 1

    @property
    def fault(self) -> str | None:
        """Why nothing of this answer can be used; None: there is text."""
        if self.finish_reason == "content_filter":
            return FILTERED
        if self.finish_reason == "refusal":
            return REFUSAL
        if self.text.strip():
            return None
        return CUT_OFF if self.finish_reason == "length" else EMPTY

    def rejection(self, model: str, reason: str, limit: int) -> AnswerRejected:
        """Return the error for an answer that cannot be used.

        Args:
            model: Name of the model.
            reason: Its :attr:`fault`.
            limit: Most tokens that it could have.
        """
        text = f"{model} gave no usable answer: {reason} (finish reason {self.finish_reason})"
        if reason == CUT_OFF:
            text = f"{model} wrote no answer within its limit of {limit} tokens; raise max_tokens"
        rejected = AnswerRejected(text, reason)
        rejected.tries = self.tries
        return rejected


class Provider(Protocol):
    """The one seam to models."""

    def answer(self, messages: Messages, *, temperature: float, max_tokens: int, seed: int) -> Answer:
        """Answer a chat.

        Raises:
            AnswerRejected: The provider refuses this chat, and may accept others.
            GenerationError: The provider cannot be used.
        """
        ...

    def stream(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int
    ) -> Generator[str, None, Answer]:
        """Answer a chat piece by piece; the generator returns the whole answer."""
        ...

    def close(self) -> None:
        """Free what the provider holds."""
        ...


@runtime_checkable
class AnswersBySchema(Protocol):
    """A provider that can make a model keep a JSON schema."""

    def answer_by_schema(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int, schema: Mapping[str, object]
    ) -> Answer:
        """Answer a chat with a JSON document.

        Args:
            messages: The chat.
            temperature: Sampling temperature.
            max_tokens: Ceiling of the answer.
            seed: Seed of the sampler.
            schema: What the document must be like, as OpenAI's ``response_format``.

        Raises:
            AnswerRejected: The provider refuses this chat or the schema.
            GenerationError: The provider cannot be used.
        """
        ...


@dataclass(frozen=True)
class Completion:
    """One usable answer and how it came about.

    Attributes:
        text: What the LLM wrote.
        messages: The chat as it was sent.
        model: Name of the generator.
        prompt_tokens: Tokens read; 0 from the cache.
        completion_tokens: Tokens written; 0 from the cache.
        usd: Price of this call in US dollars; 0 from the cache.
        seconds: Waiting time.
        cached: Whether it was paid before.
        request_hash: Key of the request.
        paid: What the answer cost when it was paid for, whichever run paid.
        finish_reason: Why the model stopped; ``length``: the text is cut off.
        reasoning: Thoughts that the provider returned beside the answer.
        tries: How often the provider was asked; 0 from the cache.
    """

    text: str
    messages: tuple[Mapping[str, str], ...]
    model: str
    prompt_tokens: int
    completion_tokens: int
    usd: float
    seconds: float
    cached: bool
    request_hash: str
    paid: Spending
    finish_reason: str | None = None
    reasoning: str | None = None
    tries: int = 0
