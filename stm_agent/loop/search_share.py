"""How much of the ceilings a search may spend on proposing candidates; the rest is for comparing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stm_agent.clock import RunClock
from stm_agent.llm.budget import read_spending
from stm_agent.loop.runs import RunFolder
from stm_agent.loop.spending_limits import SpendingLimits

SHARE = 0.5
"""Share of the dollars, calls and minutes for proposing candidates."""
PROPOSING = "proposing"


class Host(Protocol):
    """What holds the spending of a run."""

    run: RunFolder
    clock: RunClock


class SearchShare:
    """Whether a part of a search has spent its share. A resumed search ends the part where the first process did.

    If the limits were raised since, it continues. What a killed process paid for is proposed again from the cache, so
    nothing is asked of the spending before this process has paid for something itself.
    """

    def __init__(
        self, context: Host, limits: SpendingLimits, end_early: Callable[[str], None], *, part: str = PROPOSING
    ) -> None:
        """Take the run, the limits of this part, and what notes that they ended it.

        Args:
            context: The run.
            limits: Limits of the part.
            end_early: Called once with the reason.
            part: Name of the part, unique in its run.
        """
        self._context, self._limits, self._end_early, self._part = context, limits, end_early, part
        self._before = read_spending(context.run.llm_ledger).calls
        self._asked, self._is_over = 0, False
        # Events of earlier versions say nothing of their limits.
        ends = [row for row in context.run.ledger.entries(f"{part} ended") if "limits" in row]
        ended = ends[-1] if ends and not limits.are_raised(ends[-1]["limits"]) else None
        self._ended: tuple[int, str] | None = (ended["asked"], ended["reason"]) if ended else None

    def is_spent(self) -> bool:
        """Return whether nothing more may be asked for."""
        self._asked += 1
        if self._is_over:
            return True
        if self._ended is not None:
            asked, reason = self._ended
            if self._asked < asked:
                return False
        elif (reached := self._reached()) is not None:
            reason = f"{self._part} ended early: {reached}"
            row = {"asked": self._asked, "reason": reason, "limits": self._limits.to_json()}
            self._context.run.ledger.record(f"{self._part} ended", **row)
        else:
            return False
        self._is_over = True
        self._end_early(reason)
        return True

    def _reached(self) -> str | None:
        spent = read_spending(self._context.run.llm_ledger)
        if self._before and spent.calls == self._before:
            return None
        return self._limits.reached(spent, self._context.clock)
