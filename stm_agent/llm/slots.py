"""Which slot of the embedded LLM writes which text, so that a prompt is read once for all its samples."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stm_agent.llm.answer import Messages


class Slots:
    """The slots of one server; each remembers the prompt it read last. Safe between threads.

    A request takes the free slot whose last prompt shares the longest beginning with its own. If a busy slot reads the
    very same prompt, the request waits for that slot instead: the samples of one prompt then cost one reading of it.
    """

    def __init__(self, count: int) -> None:
        """Begin with ``count`` free slots that have read nothing."""
        self._last = [""] * count
        self._free = [True] * count
        self._changed = threading.Condition()

    @contextmanager
    def take(self, messages: Messages) -> Iterator[int]:
        """Hold a slot for one request; yields its number."""
        prompt = "\0".join(message["content"] for message in messages)
        with self._changed:
            while (slot := self._choose(prompt)) is None:
                self._changed.wait()
            self._free[slot], self._last[slot] = False, prompt
        try:
            yield slot
        finally:
            with self._changed:
                self._free[slot] = True
                self._changed.notify_all()

    def _choose(self, prompt: str) -> int | None:
        same = [slot for slot, last in enumerate(self._last) if last == prompt]
        candidates = [slot for slot in same or range(len(self._last)) if self._free[slot]]
        return max(candidates, key=lambda slot: _shared(self._last[slot], prompt), default=None)


def _shared(first: str, second: str) -> int:
    """Return the number of letters with which both texts begin."""
    # By halves: comparing letters one by one is slow in Python, and prompts have thousands.
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle - 1)
    return low
