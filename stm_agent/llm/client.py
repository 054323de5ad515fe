"""Every LLM call of the engine: cached on disk, counted, limited, retried, and written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from stm_agent.files import append_jsonl, content_hash, read_json, write_json
from stm_agent.llm.budget import Budget

SCHEMA = 1
TRIES = 5
Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Answer:
    """What a provider gave: text, token counts, price in USD (None where unknown)."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    usd: float | None


class Provider(Protocol):
    """The one seam to models."""

    def answer(self, messages: Messages, *, temperature: float, max_tokens: int, seed: int) -> Answer:
        """Answer a chat."""
        ...

    def stream(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int
    ) -> Generator[str, None, Answer]:
        """Answer a chat piece by piece; what the generator returns in the end is the whole answer."""
        ...

    def close(self) -> None:
        """Free what the provider holds."""
        ...


@dataclass(frozen=True)
class Completion:
    """One answer and how it came about.

    Attributes:
        text: What the LLM wrote.
        messages: The chat as it was sent.
        model: Name of the generator.
        prompt_tokens: Tokens read; 0 where it came from the cache.
        completion_tokens: Tokens written; 0 where it came from the cache.
        usd: Price of this call; 0 from the cache.
        seconds: Waiting time.
        cached: Whether it was paid before.
        request_hash: Key of the request.
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


@dataclass(frozen=True)
class _Request:
    """What is asked, and the key it is kept under."""

    chat: tuple[dict[str, str], ...]
    heat: float
    limit: int
    key: str

    @property
    def seed(self) -> int:
        """Seed of the answer, the same for the same request."""
        return int(self.key[:8], 16) % 2**31


class LlmClient:
    """The way to one model. The same request is never paid twice, over processes and kills."""

    def __init__(
        self,
        model: str,
        provider: Provider,
        *,
        cache: Path,
        ledger: Path,
        budget: Budget,
        temperature: float = 0.8,
        max_tokens: int = 256,
        api_base: str | None = None,
    ) -> None:
        """Open a client; earlier spending in the ledger counts against the budget."""
        self.model, self.provider, self.cache, self.ledger, self.budget = model, provider, cache, ledger, budget
        self.temperature, self.max_tokens, self.api_base = temperature, max_tokens, api_base
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """Hash of what decides the answers beside the messages."""
        return content_hash(
            [self.model, self.temperature, self.max_tokens, *([self.api_base] if self.api_base else [])]
        )

    def complete(
        self,
        messages: Messages,
        *,
        rollout: int = 0,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> Completion:
        """Answer a chat, from the cache if it was answered before.

        Args:
            messages: OpenAI-style chat.
            rollout: Number of the sample: another one is another request, the same one the same answer.
            temperature: Overrides the client's.
            max_tokens: Overrides the client's.

        Raises:
            BudgetExceeded: The ceiling was reached before the call.
            GenerationError: The provider cannot be reached or refuses.
        """
        request = self._request(messages, rollout, temperature, max_tokens)
        if kept := self._kept(request):
            return kept
        self.budget.check()
        began = time.monotonic()
        answer = self.provider.answer(
            request.chat, temperature=request.heat, max_tokens=request.limit, seed=request.seed
        )
        return self._paid(request, answer, time.monotonic() - began, rollout)

    def stream(
        self,
        messages: Messages,
        *,
        rollout: int = 0,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> Generator[str, None, Completion]:
        """Answer a chat piece by piece, from the cache (in one piece) if it was answered before.

        A reader that stops early leaves nothing in the cache, and what the provider had written until then is not
        counted: it does not say.

        Raises:
            BudgetExceeded: The ceiling was reached before the call.
            GenerationError: The provider cannot be reached, refuses, or dies on the way.
        """
        request = self._request(messages, rollout, temperature, max_tokens)
        if kept := self._kept(request):
            yield kept.text
            return kept
        self.budget.check()
        began = time.monotonic()
        answer = yield from self.provider.stream(
            request.chat, temperature=request.heat, max_tokens=request.limit, seed=request.seed
        )
        return self._paid(request, answer, time.monotonic() - began, rollout)

    def _request(self, messages: Messages, rollout: int, temperature: float | None, max_tokens: int | None) -> _Request:
        heat = self.temperature if temperature is None else temperature
        limit = max_tokens or self.max_tokens
        chat = tuple(dict(message) for message in messages)
        # The same name at another server is another model.
        where = [self.api_base] if self.api_base else []
        return _Request(chat, heat, limit, content_hash([SCHEMA, self.model, chat, heat, limit, rollout, *where]))

    def _kept(self, request: _Request) -> Completion | None:
        kept = self._place(request)
        if not kept.exists():
            return None
        return Completion(read_json(kept)["text"], request.chat, self.model, 0, 0, 0.0, 0.0, True, request.key)

    def _place(self, request: _Request) -> Path:
        return self.cache / request.key[:2] / f"{request.key}.json"

    def _paid(self, request: _Request, answer: Answer, seconds: float, rollout: int) -> Completion:
        usd, chat, key, kept = answer.usd or 0.0, request.chat, request.key, self._place(request)
        # The answer is stored before it is counted: a kill in between cannot make it be paid again.
        write_json(
            kept, {"schema": SCHEMA, "model": self.model, "messages": chat, "rollout": rollout, **asdict(answer)}
        )
        self.budget.charge(usd, answer.prompt_tokens, answer.completion_tokens, seconds)
        entry = {"schema": SCHEMA, "model": self.model, "request": key, "price_known": answer.usd is not None}
        with self._lock:
            append_jsonl(
                self.ledger, {**entry, **asdict(answer), "usd": usd, "text": None, "seconds": round(seconds, 3)}
            )
        return Completion(
            answer.text, chat, self.model, answer.prompt_tokens, answer.completion_tokens, usd, seconds, False, key
        )

    def close(self) -> None:
        """Free the provider."""
        self.provider.close()
