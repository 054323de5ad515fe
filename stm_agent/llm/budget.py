"""A hard ceiling on money, calls and minutes, checked before each call."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from stm_agent.errors import BudgetExceeded, ConfigError


@dataclass(frozen=True)
class Spending:
    """What was spent so far: US dollars, paid calls, tokens, and seconds of waiting for LLMs."""

    usd: float = 0.0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


class Budget:
    """Counts spending and refuses what would pass the ceiling; safe between threads."""

    def __init__(self, usd: float | None = None, minutes: float | None = None, calls: int | None = None) -> None:
        """Set the ceilings; None is none. The clock starts now.

        Raises:
            ConfigError: A ceiling is negative or not a number.
        """
        for name, value in (("usd", usd), ("minutes", minutes), ("calls", calls)):
            if value is not None and not value >= 0:
                raise ConfigError(f"budget {name} {value} is no ceiling; use 0 or more")
        self.usd, self.minutes, self.calls = usd, minutes, calls
        self._spent = Spending()
        self._began = time.monotonic()
        self._lock = threading.Lock()

    @property
    def spent(self) -> Spending:
        """What was spent so far."""
        return self._spent

    @property
    def exhausted(self) -> bool:
        """Whether the minutes are over: the loop starts no new lever then."""
        return self.minutes is not None and (time.monotonic() - self._began) / 60 >= self.minutes

    def charge(self, usd: float, prompt_tokens: int, completion_tokens: int, seconds: float) -> None:
        """Add one call."""
        with self._lock:
            was = self._spent
            self._spent = replace(
                was,
                usd=was.usd + usd,
                calls=was.calls + 1,
                prompt_tokens=was.prompt_tokens + prompt_tokens,
                completion_tokens=was.completion_tokens + completion_tokens,
                seconds=was.seconds + seconds,
            )

    def check(self) -> None:
        """Let a call pass, or not.

        Raises:
            BudgetExceeded: A ceiling is reached.
        """
        if self.usd is not None and self._spent.usd >= self.usd:
            raise BudgetExceeded(f"budget of {self.usd} USD is spent ({self._spent.usd:.4f}); raise --budget-usd")
        if self.calls is not None and self._spent.calls >= self.calls:
            raise BudgetExceeded(f"budget of {self.calls} calls is spent; raise it")
        if self.exhausted:
            raise BudgetExceeded(f"budget of {self.minutes} minutes is over; raise --budget-minutes")
