"""How much a search may spend, and whether a search that ended early has more now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from stm_agent.clock import RunClock
from stm_agent.llm.budget import Spending
from stm_agent.loop.options import Options


class LimitsRow(TypedDict):
    """Limits as JSON; None: no limit."""

    usd: float | None
    calls: float | None
    minutes: float | None


@dataclass(frozen=True, kw_only=True)
class SpendingLimits:
    """Limits of what a search, or a part of it, spends together with all that its run spent before.

    Attributes:
        usd: US dollars; None: no limit.
        calls: LLM calls, retries included.
        minutes: Minutes of the run.
    """

    usd: float | None
    calls: float | None
    minutes: float | None

    @classmethod
    def of(cls, options: Options) -> SpendingLimits:
        """Return the ceilings that a user set."""
        return cls(usd=options.budget_usd, calls=options.budget_calls, minutes=options.budget_minutes)

    def part(self, share: float, before: Spending | None = None, minutes: float = 0.0) -> SpendingLimits:
        """Return the limits within which a share is spent of what was left.

        Args:
            share: The share.
            before: What was spent before; None: nothing.
            minutes: Minutes that were over before.
        """
        spent = before or Spending()

        def within(limit: float | None, begin: float) -> float | None:
            return None if limit is None else begin + share * max(0.0, limit - begin)

        return SpendingLimits(
            usd=within(self.usd, spent.usd),
            calls=within(self.calls, spent.calls),
            minutes=within(self.minutes, minutes),
        )

    def reached(self, spent: Spending, clock: RunClock) -> str | None:
        """Return which limit is reached, with the flag that raises it; None: none is."""
        if self.calls is not None and spent.calls >= self.calls:
            return f"{spent.calls} calls are spent, its share of --budget-calls"
        if self.usd is not None and spent.usd >= self.usd:
            return f"{spent.usd:.4f} USD are spent, its share of --budget-usd"
        if self.minutes is not None and clock.seconds() >= self.minutes * 60:
            return f"{clock.seconds() / 60:.1f} minutes are over, its share of --budget-minutes"
        return None

    def are_raised(self, earlier: LimitsRow) -> bool:
        """Return whether one of these limits is higher than it was earlier."""
        pairs = (
            (earlier["usd"], self.usd),
            (earlier["calls"], self.calls),
            (earlier["minutes"], self.minutes),
        )
        return any(was is not None and (now is None or now > was) for was, now in pairs)

    def to_json(self) -> LimitsRow:
        """Return the limits as JSON values."""
        return {"usd": self.usd, "calls": self.calls, "minutes": self.minutes}
