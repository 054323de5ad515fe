"""Progress of many LLM calls in words: how fast, for how much, and how long still."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

WINDOW = 64
"""Texts that the rate is measured over: answers from the cache, which come at once, are soon out of it."""


class CallRate:
    """Measures the texts a minute and the cost since it was made."""

    def __init__(self, client: LlmClient, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now; ``clock`` returns seconds."""
        self._client, self._clock = client, clock
        self._spent = client.budget.spent.usd
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)], maxlen=WINDOW)

    def text(self, what: str, done: int, total: int) -> str:
        """Return one line: what is written, texts a minute, US dollars, and the time left.

        Args:
            what: Name of the texts.
            done: Texts asked for so far.
            total: Texts to ask for.
        """
        now = self._clock()
        since, before = self._seen[0]
        self._seen.append((now, done))
        parts = [what]
        if now > since and done > before:
            per_second = (done - before) / (now - since)
            parts.append(f"{60 * per_second:.0f} a minute")
            if done < total:
                parts.append(f"{_duration((total - done) / per_second)} left")
        usd = self._client.budget.spent.usd - self._spent
        if usd:
            parts.append(f"{usd:.4f} USD")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
