"""Which slot of the embedded LLM writes which text, so that a prompt is read once for all its samples."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stm_agent.llm.answer import Messages


@dataclass(eq=False)
class _Request:
    """One text that waits for a slot; two of one prompt are not the same."""

    prompt: str


class Slots:
    """The slots of one server; each remembers the prompt it read last. Safe between threads.

    A request takes the free slot whose last prompt shares the longest beginning with its own. If a busy slot reads the
    very same prompt, the request waits for that slot instead: the samples of one prompt then cost one reading of it.
    Of the requests that have a slot to go to, the one that came first is answered first.
    """

    def __init__(self, count: int) -> None:
        """Begin with ``count`` free slots that have read nothing."""
        self._last = [""] * count
        self._free = [True] * count
        self._waiting: list[_Request] = []
        self._changed = threading.Condition()

    @contextmanager
    def take(self, messages: Messages) -> Iterator[int]:
        """Hold a slot for one request; yields its number."""
        request = _Request("\0".join(message["content"] for message in messages))
        with self._changed:
            self._waiting.append(request)
            try:
                while (slot := self._turn(request)) is None:
                    self._changed.wait()
            finally:
                self._waiting.remove(request)
            self._free[slot], self._last[slot] = False, request.prompt
            # Another slot may be free for the next one.
            self._changed.notify_all()
        try:
            yield slot
        finally:
            with self._changed:
                self._free[slot] = True
                self._changed.notify_all()

    def _turn(self, request: _Request) -> int | None:
        """Return the slot of a request if no earlier one has a slot to go to."""
        for waiting in self._waiting:
            slot = self._choose(waiting.prompt)
            if slot is not None:
                return slot if waiting is request else None
        return None

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
