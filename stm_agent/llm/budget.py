"""A hard ceiling on money, calls and minutes, checked before each call."""

from __future__ import annotations

import threading
import time
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


def read_spending(ledger: Path) -> Spending:
    """Return what a ledger of calls holds; a file that is not there holds nothing."""
    entries = read_jsonl(ledger)

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
        """Set the ceilings; None is no ceiling.

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
        self._ledgers: set[Path] = set()
        self._lock = threading.Lock()

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
    def reserve(self, usd: float = 0.0) -> Iterator[None]:
        """Hold room for one call until the block ends, so that parallel calls cannot pass the ceiling together.

        Args:
            usd: The most that the call can cost; 0 if that is unknown.

        Raises:
            BudgetExceeded: A ceiling is reached, or the call could pass it.
        """
        with self._lock:
            self._check(usd)
            self._reserved_usd += usd
            self._reserved_calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._reserved_usd -= usd
                self._reserved_calls -= 1

    def check(self, usd: float = 0.0) -> None:
        """Require room for a call of at most ``usd`` dollars.

        Raises:
            BudgetExceeded: A ceiling is reached, or the call could pass it.
        """
        with self._lock:
            self._check(usd)

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
            raise BudgetExceeded(f"budget of {self.minutes} minutes is over; raise --budget-minutes")
