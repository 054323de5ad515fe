"""Answers on disk, so that nothing is paid twice, and the ledger of everything that was paid."""

from __future__ import annotations

import datetime
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypedDict

from stm_agent.errors import StorageError
from stm_agent.files import append_jsonl, content_hash, read_json, read_jsonl, write_json
from stm_agent.llm.answer import BROKEN, LEFT, NO_ANSWER, Answer
from stm_agent.llm.budget import Spending

logger = logging.getLogger(__name__)
SCHEMA = 1


@dataclass(frozen=True)
class LlmRequest:
    """One request to one model.

    Attributes:
        model: Name of the model.
        api_base: Address of its server; None: the provider's own.
        chat: The messages.
        temperature: Sampling temperature.
        max_tokens: Ceiling of the answer, without headroom for thoughts.
        rollout: Number of the sample.
        schema: What the answer must be like, as OpenAI's ``response_format``; None: text.
    """

    model: str
    api_base: str | None
    chat: tuple[Mapping[str, str], ...]
    temperature: float
    max_tokens: int
    rollout: int
    schema: Mapping[str, object] | None = None

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the answer."""
        server = [self.api_base] if self.api_base else []
        parts = [SCHEMA, self.model, self.chat, self.temperature, self.max_tokens, self.rollout, *server]
        return content_hash([*parts, *([{"schema": self.schema}] if self.schema else [])])

    @property
    def seed(self) -> int:
        """Seed of the answer, the same for the same request."""
        return int(self.key[:8], 16) % 2**31


@dataclass(frozen=True)
class StoredAnswer:
    """An answer that was paid for before.

    Attributes:
        answer: The answer, which costs nothing now.
        paid: What it cost then.
    """

    answer: Answer
    paid: Spending


class AnswerStore:
    """Usable answers by request, in one folder for many runs."""

    def __init__(self, folder: Path) -> None:
        """Open the folder; it is made when the first answer is written."""
        self.folder = folder
        self._locks: dict[str, threading.Lock] = {}
        self._waiting: Counter[str] = Counter()
        self._lock = threading.Lock()

    def find(self, request: LlmRequest) -> StoredAnswer | None:
        """Return the stored answer; None if there is none, or none that can be used."""
        path = self._path(request)
        if not path.exists():
            return None
        try:
            stored = read_json(path)
            text, written = stored["text"], stored.get("completion_tokens", 0)
            # Entries of earlier versions do not say why the model stopped.
            guess = "length" if written >= request.max_tokens else None
            answer = Answer(text, 0, 0, 0.0, stored.get("finish_reason", guess), stored.get("reasoning"), tries=0)
            return None if answer.fault else StoredAnswer(answer, _paid(stored))
        except (StorageError, KeyError, TypeError, ValueError, AttributeError) as error:
            logger.warning("stored answer %s cannot be read and is asked for again: %s", path, error)
            return None

    def write(self, request: LlmRequest, answer: Answer, seconds: float) -> None:
        """Store a usable answer, and the seconds that it took."""
        about = {"schema": SCHEMA, "model": request.model, "messages": request.chat, "rollout": request.rollout}
        write_json(self._path(request), {**about, **asdict(answer), "seconds": round(seconds, 3)})

    @contextmanager
    def hold(self, request: LlmRequest) -> Iterator[None]:
        """Let one thread at a time ask for a request: the others then find its answer."""
        key = request.key
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
            self._waiting[key] += 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                self._waiting[key] -= 1
                if not self._waiting[key]:
                    del self._waiting[key], self._locks[key]

    def _path(self, request: LlmRequest) -> Path:
        return self.folder / request.key[:2] / f"{request.key}.json"


class StoredCost(TypedDict, total=False):
    """What the file of an answer says of its cost; ``tries`` are the calls, retries included."""

    usd: float | None
    tries: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


def _paid(stored: StoredCost) -> Spending:
    """Return what a stored answer cost; earlier versions stored no seconds."""
    return Spending(
        usd=float(stored.get("usd") or 0.0),
        calls=int(stored.get("tries", 1)),
        prompt_tokens=int(stored.get("prompt_tokens", 0)),
        completion_tokens=int(stored.get("completion_tokens", 0)),
        seconds=float(stored.get("seconds", 0.0)),
    )


class CallLedger:
    """One line for every call: what it cost, how often it was tried, and why its answer was rejected."""

    def __init__(self, path: Path) -> None:
        """Open a ledger, and remember which requests were answered, and which were rejected for good."""
        self.path = path
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._waiting: list[dict[str, object]] = []
        entries = read_jsonl(path)
        self._rejected = {entry["request"]: entry["rejected"] for entry in entries if entry.get("rejected")}
        self._held = {entry["request"] for entry in entries if _is_answer(entry)}

    def holds(self, request: LlmRequest) -> bool:
        """Return whether an answer of this request is in the ledger."""
        with self._lock:
            return request.key in self._held

    def rejection(self, request: LlmRequest) -> str | None:
        """Return why this request was rejected before; None if it was not."""
        reason = self._rejected.get(request.key)
        return None if reason == NO_ANSWER else reason

    def record(
        self,
        request: LlmRequest,
        answer: Answer,
        seconds: float,
        *,
        rejected: str | None = None,
        stored: bool = False,
    ) -> None:
        """Append one call, and return when it is on the disk; ``answer.usd`` None is 0 with ``price_known`` false.

        Args:
            request: What was asked.
            answer: What came of it, with its cost.
            seconds: How long it took.
            rejected: Why nothing of it can be used; None: it can be.
            stored: Whether it was paid for before this ledger began.
        """
        priced = replace(answer, text="", reasoning=None, usd=answer.usd or 0.0)
        paid = {name: value for name, value in asdict(priced).items() if name not in ("text", "reasoning")}
        entry: dict[str, object] = {"schema": SCHEMA, "model": request.model, "request": request.key, **paid}
        entry |= {"price_known": answer.usd is not None, "seconds": round(seconds, 3), "rejected": rejected}
        entry |= {"stored": True} if stored else {}
        entry["time"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._lock:
            self._waiting.append(entry)
        # Whoever may write takes along what others have to write: one wait for the disk for all of them.
        with self._writing:
            with self._lock:
                entries, self._waiting = self._waiting, []
            if entries:
                append_jsonl(self.path, *entries)
        with self._lock:
            if rejected:
                self._rejected[request.key] = rejected
            if _is_answer(entry):
                self._held.add(request.key)


def _is_answer(entry: Mapping[str, object]) -> bool:
    """Return whether a line of a ledger is of a call with a usable answer."""
    return not entry.get("rejected") and entry.get("finish_reason") not in (NO_ANSWER, LEFT, BROKEN)
