"""The merge lever: weights from the surrogate, verified by real encodes; the best single expert is a candidate too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from stm_agent.evaluate.significance import paired_bootstrap
from stm_agent.loop.context import RunContext
from stm_agent.loop.forgetting import general_floor
from stm_agent.loop.state import Expert, RatedModel, State, start_key
from stm_agent.merge.job import MergeJob, MergeResult, read_merge
from stm_agent.merge.query_start import QueryStart
from stm_agent.merge.recipe import SUM


class Beneath(TypedDict, total=False):
    """What ``merge pick`` needs of the model that experts stand on; the run's own start is left out.

    Attributes:
        documents: Of experts of queries: stage folder -> weight of the model that encodes passages.
        documents_method: How that model is merged; missing: a sum.
        queries_stand_on: Stage folder of that merge, as a model.
        start: The start.
    """

    documents: dict[str, float]
    documents_method: dict[str, Any]
    queries_stand_on: str
    start: object


def merge_experts(
    context: RunContext,
    state: State,
    experts: Sequence[Expert],
    round_: int,
    *,
    beneath: QueryStart | None = None,
) -> tuple[State, RatedModel | None]:
    """Search how to merge experts; return the state with the search, and the best merge.

    Args:
        context: The run.
        state: The state before.
        experts: What is merged.
        round_: Number of the round.
        beneath: What the experts stand on, if they are those of queries alone.

    Returns:
        None as the merge if every merge forgets more than the budget.
    """
    instruction = state.provisional.instruction
    floor = general_floor(context, state)
    job = MergeJob(
        backbone=beneath.backbone if beneath else state.backbone,
        adapters=tuple(expert.adapter for expert in experts),
        instruction=instruction,
        dev=context.search,
        searched=tuple(context.search.split.queries),
        guards=context.guards,
        spec=context.spec.merge,
        floor=floor,
        seed=context.seed,
        cache=context.cache,
        documents=beneath.documents if beneath else None,
    )
    with context.timed("merge", f"searching merge weights over {len(experts)} experts"):
        result = read_merge(context.build(job))
    _record(context, experts, result, round_, floor, {**_about(beneath), **_start_of(state)})
    state = replace(state, merge=result, merged=tuple(experts))
    if not result.allowed:
        return state, None
    merged = RatedModel(
        label=_label(experts, result),
        model=job.model(job.adapters, result.weights, result.method),
        experts=tuple(expert.name for expert in experts),
        instruction=instruction,
        rating=result.rating,
    )
    return state, merged


def _label(experts: Sequence[Expert], result: MergeResult) -> str:
    used = ", ".join(
        f"{expert.name} {weight:.2f}" for expert, weight in zip(experts, result.weights, strict=True) if weight
    )
    by_method = "" if result.method == SUM else f"by {result.method.summary} "
    return f"merge {by_method}({used})"


def consider_models(
    context: RunContext,
    state: State,
    experts: Sequence[Expert],
    merged: RatedModel | None,
    round_: int,
    *,
    strict: bool = False,
) -> State:
    """Take the merge, or an expert that is clearly better alone, as the provisional model, if the gate prefers it.

    Models that forget more than the budget on the general tasks are not candidates.

    Args:
        context: The run.
        state: The state before.
        experts: The experts.
        merged: The best merge; None: there is none.
        round_: Number of the round.
        strict: Also require that the model looks better. The gate takes a model that looks a little worse, since the
            incumbent was chosen for its luck; asked after every single expert, it would lose a little each time.
    """
    floor = general_floor(context, state)
    alone = [expert.rated for expert in experts if expert.rated.rating.general >= floor]
    if merged is None and not alone:
        context.decide("merge", f"round {round_}: every expert and merge forgets more than the budget", kept=False)
        return state
    # A merge was chosen among all that were encoded, the experts alone included.
    tried = len(state.merge.verified) if merged is not None and state.merge else len(alone)
    return consider(context, state, _best(merged, alone), round_, tried=tried, strict=strict)


def consider(
    context: RunContext,
    state: State,
    challenger: RatedModel,
    round_: int,
    *,
    tried: int,
    strict: bool,
    lever: str = "merge",
) -> State:
    """Take a model as the provisional one, if the gate prefers it.

    Args:
        context: The run.
        state: The state before.
        challenger: The model.
        round_: Number of the round.
        tried: Models that it was chosen from.
        strict: See :func:`consider_models`.
        lever: Name of the lever in the record.
    """
    verdict = context.gate.consider(
        challenger.rating.domain.per_query, state.provisional.rating.domain.per_query, tried=tried
    )
    state = replace(state, considered=state.considered + tried)
    taken, reason = verdict.accepted, verdict.reason
    if strict and verdict.gain <= 0:
        taken, reason = False, f"not taken: {verdict.gain:+.4f} on the search half"
    context.decide(lever, f"round {round_}: {challenger.label} {reason}", kept=taken, weights=challenger.weights)
    return state.taking(challenger) if taken else state


def _best(merged: RatedModel | None, alone: Sequence[RatedModel]) -> RatedModel:
    """Return the merge, or an expert alone that is better beyond doubt; without a merge, the best expert alone.

    The best of several experts on the search half is partly luck, and the merge search had them among its candidates.
    """
    ranked = sorted(alone, key=lambda rated: -rated.rating.domain.ndcg_at_10)
    if merged is None:
        return ranked[0]
    of_merge = merged.rating.domain.per_query
    clear = (rated for rated in ranked if paired_bootstrap(rated.rating.domain.per_query, of_merge).low > 0)
    return next(clear, merged)


def _record(
    context: RunContext,
    experts: Sequence[Expert],
    result: MergeResult,
    round_: int,
    floor: float,
    about: Beneath,
) -> None:
    """Record every merge that was encoded and the front; note how well the surrogate ordered the merges."""
    names = [expert.name for expert in experts]
    for row in result.verified:
        context.run.ledger.record("merge", round=round_, experts=names, **row)
    folders = {expert.name: expert.folder.name for expert in experts}
    # The keys of a ledger's objects are sorted; weights are in the order of the names.
    context.run.ledger.record("front", round=round_, order=names, experts=folders, points=list(result.front), **about)
    quality = "badly, so the search continued with real encodes" if result.surrogate_is_bad else "well enough"
    context.note("merge", f"the surrogate orders the encoded merges {quality} ({result.agreement})")
    if not result.allowed:
        context.warn(
            "merge",
            f"every merge forgets too much: the best reaches {result.rating.general:.4f} on the general tasks, "
            f"the floor is {floor:.4f}; raise merge.forgetting_budget or train less",
        )


def _start_of(state: State) -> Beneath:
    """Return the start that experts stand on, if it is not the run's own."""
    start = start_key(state)
    return {"start": start[0]} if start else {}


def _about(beneath: QueryStart | None) -> Beneath:
    """Return what ``merge pick`` needs to build the model that experts of queries stand on."""
    if beneath is None:
        return {}
    documents = beneath.documents
    stages = (adapter.parent.name for adapter in documents.adapters)
    about: Beneath = {"documents": dict(zip(stages, documents.weights, strict=True))}
    if documents.method != SUM:
        about["documents_method"] = documents.method.model_dump(mode="json")
        about["queries_stand_on"] = Path(beneath.backbone.model).parent.name
    return about
