"""The ways to the LLMs: one door each, and turns at them, so that a slow LLM holds up nobody but who asked it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from anyio import CapacityLimiter, to_thread

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import TooMany
from stm_agent.annotate.quiet import Quiet
from stm_agent.annotate.services.llms import LlmChoice
from stm_agent.files import content_hash

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

PATIENCE = 60.0
"""Seconds an LLM may say nothing, before its first piece and between two."""
AT_ONCE = 4
"""Answers one person may wait for at a time."""
THREADS = 64
"""Answers everybody together may wait for at a time; further ones stand in line."""
T = TypeVar("T")


class Clients:
    """The ways to the LLMs that were set up, opened when first asked for; cached and counted as all LLM calls are."""

    def __init__(self, folder: Path, *, patience: float = PATIENCE) -> None:
        """Keep cache and ledger in ``folder``; an LLM that says nothing for ``patience`` seconds is given up."""
        self.folder, self.patience = folder, patience
        self._open: dict[str, LlmClient] = {}
        self._lock = threading.Lock()

    def door(self, choice: LlmChoice) -> LlmClient:
        """Return the door to an LLM.

        Raises:
            ConfigError: LiteLLM does not know the model.
        """
        from stm_agent.llm.answer import TRIES
        from stm_agent.llm.budget import Budget
        from stm_agent.llm.open import open_client
        from stm_agent.llm.options import LlmOptions

        # An embedded model is never away, and not to be loaded twice.
        tries = TRIES if choice.model.startswith("embedded:") else choice.tries
        name = content_hash([choice.model, choice.api_base, choice.key, tries])
        with self._lock:
            if name not in self._open:
                door = open_client(
                    LlmOptions(model=choice.model, api_base=choice.api_base),
                    cache=self.folder / "llm",
                    ledger=self.folder / "llm.jsonl",
                    budget=Budget(),
                    api_key=choice.key,
                    patience=self.patience,
                    tries=tries,
                )
                if choice.key:
                    door.provider = Quiet(door.provider, choice.key)
                self._open[name] = door
            return self._open[name]

    def close(self) -> None:
        """Close them all."""
        for door in self._open.values():
            door.close()


class Turns:
    """Who waits for an LLM: a few answers a person, in threads that serve no requests."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._waiting: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._threads = CapacityLimiter(THREADS)

    @contextmanager
    def turn(self, actor: Actor) -> Iterator[None]:
        """Let somebody wait for one more answer.

        Raises:
            TooMany: They wait for as many as one person may.
        """
        with self._lock:
            if self._waiting[actor.id] >= AT_ONCE:
                raise TooMany(f"{AT_ONCE} drafts are being written for you; wait for one, or stop it")
            self._waiting[actor.id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting[actor.id] -= 1

    async def wait_for(self, act: Callable[[], T]) -> T:
        """Return what ``act`` returns; who stops waiting goes at once, and leaves it to end by itself."""
        return await to_thread.run_sync(act, limiter=self._threads, abandon_on_cancel=True)
