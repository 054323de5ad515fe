"""Where a run stands, as values that travel with its events: the incumbent, how it rose, what is spent and left."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stm_agent.evaluate.significance import confidence_interval
from stm_agent.llm.budget import read_spending
from stm_agent.loop.context import RunContext
from stm_agent.loop.events import Choice, Stair, Standing
from stm_agent.loop.history import Decision, Step
from stm_agent.loop.state import State


def standing_of(context: RunContext, state: State, steps: Sequence[Step]) -> Standing:
    """Return where a run stands between two actions."""
    scores, loop = state.provisional.rating.domain, context.spec.loop
    interval = confidence_interval(scores.per_query, samples=loop.bootstrap, seed=context.seed, alpha=loop.alpha)
    spent, left = read_spending(context.run.llm_ledger), context.seconds_left()
    return {
        "run": context.run.id,
        "model": state.provisional.label,
        "ndcg_at_10": scores.ndcg_at_10,
        "low": interval.low,
        "high": interval.high,
        "stairs": _stairs(state.base.rating.domain.ndcg_at_10, steps),
        "seconds": round(context.clock.seconds(), 1),
        "seconds_left": None if math.isinf(left) else round(left, 1),
        "minutes": context.minutes,
        "usd": spent.usd,
        "budget_usd": context.generator.usd,
        "calls": spent.calls,
        "budget_calls": context.generator.calls,
    }


def choice_of(number: int, decision: Decision) -> Choice:
    """Return what was decided, and why."""
    return {
        "number": number,
        "summary": decision.action.summary,
        "by": decision.by,
        "reason": decision.reason,
        "seconds": decision.seconds,
    }


def _stairs(base: float, steps: Sequence[Step]) -> list[Stair]:
    """Return the best score so far after each action, the start first."""
    stairs: list[Stair] = [{"seconds": 0.0, "best": base}]
    for step in steps:
        last = stairs[-1]
        stairs.append({"seconds": round(last["seconds"] + step.seconds, 1), "best": last["best"] + max(0.0, step.gain)})
    return stairs
