"""What a decision was made from, in the ledger: the state as text and the menu with prices.

The planner's program is optimised on it (``stm-agent loop optimize-planner``), whichever policy decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from stm_agent.errors import StmAgentError
from stm_agent.loop.actions.menu import read_action
from stm_agent.loop.costs import Cost
from stm_agent.loop.policies.planner import state_text
from stm_agent.loop.policies.policy import Left, Offer, Situation

SITUATION = "situation"
"""Event of the ledger, written before the decision of the same number."""


def record_situation(situation: Situation) -> None:
    """Write what the next decision is made from."""
    context = situation.context
    try:
        with context.clock.working():
            _record(situation)
    except StmAgentError as error:
        # The record is for a planner; the run needs none.
        context.note("search", f"decision {len(situation.steps) + 1} is recorded without its menu: {error}")


def _record(situation: Situation) -> None:
    left = {name: None if math.isinf(value) else value for name, value in vars(situation.left).items()}
    menu = [
        {
            "action": offer.action.to_json(),
            "seconds": round(offer.cost.seconds, 3),
            "dollars": offer.cost.dollars,
            "calls": offer.cost.calls,
        }
        for offer in situation.menu
    ]
    situation.context.run.ledger.record(
        SITUATION, number=len(situation.steps) + 1, state=state_text(situation), menu=menu, left=left
    )


def read_menu(entry: Mapping[str, Any]) -> tuple[tuple[Offer, ...], Left]:
    """Return the menu and what was left of the budget.

    Raises:
        ConfigError: The menu holds an action that this version does not have.
    """
    offers = tuple(
        Offer(read_action(row["action"]), Cost(seconds=row["seconds"], dollars=row["dollars"], calls=row["calls"]))
        for row in entry["menu"]
    )
    return offers, Left(**{name: math.inf if value is None else value for name, value in entry["left"].items()})
