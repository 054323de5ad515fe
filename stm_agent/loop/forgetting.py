"""What a run's model forgot: each general task, the model against the start, on queries that no lever saw."""

from __future__ import annotations

from typing import TypedDict

from stm_agent.domain.collection import Collection
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.evaluate.significance import paired_bootstrap
from stm_agent.loop.context import RunContext
from stm_agent.loop.state import State


class GuardRow(TypedDict):
    """One general task: nDCG@10 of the start and of the model, and the paired difference with its 95 % interval."""

    base: float
    merged: float
    delta: float
    low: float
    high: float


def general_floor(context: RunContext, state: State) -> float:
    """Return the mean nDCG@10 over the general tasks below which a model forgets more than the budget."""
    return state.base.rating.general - context.spec.merge.forgetting_budget


def held_guards(guards: list[Collection]) -> tuple[ScoredTask, ...]:
    """Return the general tasks with queries that no lever is scored on: their test split, or dev without one."""
    return tuple(
        ScoredTask(f"{number} {guard.name}", guard.texts, guard.splits.get("test", guard.splits["dev"]))
        for number, guard in enumerate(guards, 1)
    )


def guard_rows(context: RunContext, state: State) -> dict[str, GuardRow]:
    """Score the start and the model on every general task, without instruction; a clear loss is a warning."""
    plain, rows = state.base.instruction.unsaid(), {}
    budget = context.spec.merge.forgetting_budget
    for task in context.held_guards:
        base, merged = (context.score(rated.model, task, plain) for rated in (state.base, state.confirmed))
        versus = paired_bootstrap(
            merged.per_query, base.per_query, samples=context.spec.loop.bootstrap, seed=context.seed
        )
        rows[task.name] = GuardRow(
            base=base.ndcg_at_10, merged=merged.ndcg_at_10, delta=versus.delta, low=versus.low, high=versus.high
        )
        if versus.high < -budget:
            context.warn(
                "final",
                f"general task {task.name}: the model loses {-versus.delta:.3f} nDCG@10 against the start, clearly "
                f"more than the forgetting budget of {budget:g}; lower merge.forgetting_budget or raise anchor_weight",
            )
    context.run.ledger.record("guards", rows=rows)
    return rows
