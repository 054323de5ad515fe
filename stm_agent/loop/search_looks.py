"""Tests of a search's winner. If a raised ceiling continues a search, all of its tests share one error level.

The ledger holds every test. Repeating a comparison repeats its outcome and spends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from stm_agent.files import content_hash
from stm_agent.loop.context import RunContext
from stm_agent.loop.gate import Confirmation, GateState
from stm_agent.loop.runs import RunFolder

Scored = Mapping[str, float]
LOOK = "winner tested"


def confirm_winner(context: RunContext, winner: Scored, first: Scored, *, tried: int, continues: bool) -> Confirmation:
    """Test a winner on the accept half, or repeat the outcome if the ledger holds this very comparison.

    Args:
        context: The run of the search.
        winner: Scores of the winner.
        first: Scores of what the search began with.
        tried: Candidates.
        continues: Whether a ceiling ended the search: half of the level is then left for what continues it.
    """
    ledger, comparison = context.run.ledger, _comparison(winner, first)
    looks = ledger.entries(LOOK)
    for look in looks:
        if look["comparison"] == comparison:
            return Confirmation(**look["outcome"])
    before = GateState(**looks[-1]["gate"]) if looks else GateState()
    outcome, after = context.gate.confirm(winner, first, before, tried=tried, last=True, continues=continues)
    ledger.record(LOOK, comparison=comparison, outcome=asdict(outcome), gate=after.to_json())
    return outcome


def level_of_test(run: RunFolder, winner: Scored, first: Scored, alpha: float, *, continues: bool) -> float:
    """Return the error level of a test on examples that were held out; its part of ``alpha`` is then spent.

    Args:
        run: The run of the search.
        winner: Ratings of the winner.
        first: Ratings of what the search began with.
        alpha: Level of all tests together.
        continues: Whether a ceiling ended the search: half of what is left is then kept for what continues it.
    """
    comparison, looks = _comparison(winner, first), run.ledger.entries(LOOK)
    for look in looks:
        if look["comparison"] == comparison:
            return float(look["level"])
    left = alpha - sum(float(look["level"]) for look in looks)
    level = left / 2 if continues else left
    run.ledger.record(LOOK, comparison=comparison, level=level)
    return level


def _comparison(winner: Scored, first: Scored) -> str:
    return content_hash([dict(winner), dict(first)])
