"""A hard ceiling on money, calls and minutes, checked before each call."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from stm_agent.errors import BudgetExceeded, ConfigError
from stm_agent.files import read_jsonl


@dataclass(frozen=True)
class Spending:
    """Spending so far: US dollars, calls with retries, tokens, and seconds of waiting for LLMs."""

    usd: float = 0.0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


def read_spending(ledger: Path, *, stored: bool = True) -> Spending:
    """Return what a ledger of calls holds; a file that is not there holds nothing.

    Args:
        ledger: JSONL file.
        stored: Count the answers, too, that were paid for before this ledger began: those of a comparison.
    """
    entries = [entry for entry in read_jsonl(ledger) if stored or not entry.get("stored")]

    def total(name: str, default: int = 0) -> float:
        return sum(entry.get(name, default) or 0 for entry in entries)

    return Spending(
        usd=float(total("usd")),
        # Entries of earlier versions do not count retries.
        calls=int(total("tries", 1)),
        prompt_tokens=int(total("prompt_tokens")),
        completion_tokens=int(total("completion_tokens")),
        seconds=float(total("seconds")),
    )


class Budget:
    """Counts spending and refuses a call that would pass the ceiling; safe between threads."""

    def __init__(
        self,
        usd: float | None = None,
        minutes: float | None = None,
        calls: int | None = None,
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        """Set the ceilings; None sets none.

        Args:
            usd: US dollars.
            minutes: Wall time in minutes, as ``elapsed`` counts it.
            calls: Calls to providers; every retry is one.
            elapsed: Returns the seconds spent so far, over all processes of a run; None: seconds since now.

        Raises:
            ConfigError: A ceiling is negative or not a number.
        """
        for name, value in (("usd", usd), ("minutes", minutes), ("calls", calls)):
            if value is not None and not value >= 0:
                raise ConfigError(f"budget {name} {value} cannot be a ceiling; use 0 or more")
        self.usd, self.minutes, self.calls = usd, minutes, calls
        began = time.monotonic()
        self._elapsed = elapsed or (lambda: time.monotonic() - began)
        self._spent = Spending()
        self._reserved_usd, self._reserved_calls = 0.0, 0
        # Reservations that a waiting call may count on to end: those of whole answers, not of streams.
        self._ending = 0
        self._turns: deque[object] = deque()
        self._ledgers: set[Path] = set()
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)

    @property
    def spent(self) -> Spending:
        """Spending so far."""
        return self._spent

    @property
    def exhausted(self) -> bool:
        """Whether the minutes are over: the loop starts no new lever then."""
        return self.minutes is not None and self._elapsed() / 60 >= self.minutes

    def resume(self, ledger: Path) -> None:
        """Count what earlier processes wrote into a ledger; each ledger counts once."""
        with self._lock:
            if ledger.absolute() in self._ledgers:
                return
            self._ledgers.add(ledger.absolute())
        spent = read_spending(ledger)
        self.charge(spent.usd, spent.prompt_tokens, spent.completion_tokens, spent.seconds, calls=spent.calls)

    def charge(self, usd: float, prompt_tokens: int, completion_tokens: int, seconds: float, *, calls: int = 1) -> None:
        """Add a call with its retries."""
        with self._lock:
            before = self._spent
            self._spent = replace(
                before,
                usd=before.usd + usd,
                calls=before.calls + calls,
                prompt_tokens=before.prompt_tokens + prompt_tokens,
                completion_tokens=before.completion_tokens + completion_tokens,
                seconds=before.seconds + seconds,
            )

    @contextmanager
    def reserve(self, usd: float = 0.0, *, waits: bool = False) -> Iterator[None]:
        """Hold room for one call until the block ends, so that parallel calls cannot pass the ceiling together.

        Args:
            usd: The most that the call can cost; 0 if that is unknown.
            waits: Wait for calls in flight that hold room they may not need, rather than refuse: the budget then buys
                as many calls as one after another. The block must end without the caller, unlike a stream's.

        Raises:
            BudgetExceeded: A ceiling is reached, or the call could pass it.
        """
        with self._freed:
            if waits:
                self._wait_for_room(usd)
            self._check(usd)
            self._reserved_usd += usd
            self._reserved_calls += 1
            self._ending += waits
        try:
            yield
        finally:
            with self._freed:
                self._reserved_usd -= usd
                self._reserved_calls -= 1
                self._ending -= waits
                self._freed.notify_all()

    def check(self, usd: float = 0.0) -> None:
        """Require room for a call of at most ``usd`` dollars.

        Raises:
            BudgetExceeded: A ceiling is reached, or the call could pass it.
        """
        with self._lock:
            self._check(usd)

    def _wait_for_room(self, usd: float) -> None:
        """Wait until calls in flight leave room or cannot; in the order of arrival, or late calls could starve one."""
        turn = object()
        self._turns.append(turn)
        try:
            while self._turns[0] is not turn or (self._ending and self._is_full(usd) and not self._is_spent(usd)):
                self._freed.wait()
        finally:
            self._turns.remove(turn)
            self._freed.notify_all()

    def _is_spent(self, usd: float) -> bool:
        """Return whether the call does not fit, even if calls in flight cost nothing more."""
        over_usd = self.usd is not None and (self._spent.usd >= self.usd or self._spent.usd + usd > self.usd)
        return over_usd or (self.calls is not None and self._spent.calls >= self.calls) or self.exhausted

    def _is_full(self, usd: float) -> bool:
        """Return whether what calls in flight hold leaves no room for the call."""
        held = self._spent.usd + self._reserved_usd
        over_usd = self.usd is not None and (held >= self.usd or held + usd > self.usd)
        return over_usd or (self.calls is not None and self._spent.calls + self._reserved_calls >= self.calls)

    def _check(self, usd: float) -> None:
        spent = self._spent.usd + self._reserved_usd
        if self.usd is not None and spent >= self.usd:
            raise BudgetExceeded(f"budget of {self.usd} USD is spent ({spent:.4f}); raise --budget-usd")
        if self.usd is not None and spent + usd > self.usd:
            raise BudgetExceeded(
                f"budget of {self.usd} USD has {self.usd - spent:.4f} left and the next call can cost {usd:.4f}; "
                "raise --budget-usd"
            )
        if self.calls is not None and self._spent.calls + self._reserved_calls >= self.calls:
            raise BudgetExceeded(f"budget of {self.calls} calls is spent; raise --budget-calls")
        if self.exhausted:
            raise BudgetExceeded(f"budget of {self.minutes} minutes is over; use a higher --budget-minutes")
