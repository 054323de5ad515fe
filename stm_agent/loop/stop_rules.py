"""When a run stops to choose: small callables that are asked before each new decision."""

from __future__ import annotations

from collections.abc import Callable

from stm_agent.loop.actions.action import best_of
from stm_agent.loop.forgetting import general_floor
from stm_agent.loop.policies.policy import Situation

StopRule = Callable[[Situation], str | None]
"""Returns why nothing new is begun, as one line; None: the policy decides."""

BROUGHT = 1e-4
"""nDCG@10 on the search half from which an action brought something."""


def target(score: float) -> StopRule:
    """Stop when the best model so far has this nDCG@10 on the search half."""

    def rule(situation: Situation) -> str | None:
        best = best_of(situation.state, general_floor(situation.context, situation.state)).ndcg_at_10
        return f"{best:.4f} on the search half reaches the target of {score:g}" if best >= score else None

    return rule


def patience(actions: int) -> StopRule:
    """Stop when this many actions in a row brought nothing; those that pay only later do not count."""

    def rule(situation: Situation) -> str | None:
        newest = [step for step in situation.steps if not step.decision.action.pays_later][-actions:]
        if len(newest) == actions and all(step.gain < BROUGHT for step in newest):
            return f"{actions} actions in a row brought nothing"
        return None

    return rule


def budget(situation: Situation) -> str | None:
    """Stop when nothing on the menu can be afforded any more."""
    if not situation.menu:
        return "everything on the menu was done"
    if situation.affordable:
        return None
    cheapest = min(situation.menu, key=lambda offer: offer.cost.seconds)
    return (
        f"nothing can be afforded: {max(situation.left.seconds, 0):.0f} s are left for actions, and the cheapest "
        f"({cheapest.action.summary}) takes about {cheapest.cost.seconds:.0f} s"
    )
