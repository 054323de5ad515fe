"""How much of the ceilings a search may spend on proposing candidates; the rest is for comparing them."""

from __future__ import annotations

from typing import Protocol

from stm_agent.clock import RunClock
from stm_agent.llm.access import spending
from stm_agent.loop.options import Options
from stm_agent.loop.runs import RunFolder

SHARE = 0.5
"""Share of the dollars, calls and minutes for proposing candidates."""
EVENT = "proposing ended"


class Host(Protocol):
    """What holds the spending of a run."""

    run: RunFolder
    clock: RunClock


class SearchShare:
    """Whether the share is spent. A resumed search ends its proposals where the first process did.

    What a killed process paid for is proposed again from the cache, so nothing is asked of the spending before this
    process has paid for something itself.
    """

    def __init__(self, context: Host, ceilings: Options) -> None:
        """Take the run and its ceilings."""
        self._context, self._ceilings = context, ceilings
        self._before = spending(context.run.llm_ledger).calls
        self._asked = 0
        ended = [entry["asked"] for entry in context.run.ledger.entries(EVENT)]
        self._ended: int | None = ended[0] if ended else None

    def is_spent(self) -> bool:
        """Return whether no further candidate may be proposed."""
        self._asked += 1
        if self._ended is not None:
            return self._asked >= self._ended
        if not self._is_over():
            return False
        self._ended = self._asked
        self._context.run.ledger.record(EVENT, asked=self._asked)
        return True

    def _is_over(self) -> bool:
        limits, spent = self._ceilings, spending(self._context.run.llm_ledger)
        if self._before and spent.calls == self._before:
            return False
        usd, minutes, calls = limits.budget_usd, limits.budget_minutes, limits.budget_calls
        return (
            (calls is not None and spent.calls >= calls * SHARE)
            or (usd is not None and spent.usd >= usd * SHARE)
            or (minutes is not None and self._context.clock.seconds() >= minutes * 60 * SHARE)
        )
