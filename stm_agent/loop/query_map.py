"""The lever of the query map: a linear map on query vectors, on top of the provisional model, which stays as it is.

No network is trained and no index is computed again, so it costs seconds. It is tried after the merges, and is taken
and confirmed as every other model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.domain.unlabelled import with_unlabelled
from stm_agent.errors import DataError
from stm_agent.files import read_json, sha256_text
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import pairs_of
from stm_agent.loop.forgetting import general_floor
from stm_agent.loop.merging import consider
from stm_agent.loop.query_side import competing_passages
from stm_agent.loop.state import RatedModel, State
from stm_agent.loop.training_data import TrainingData
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.train.query_map import FEWEST, RESULT, STEPS, QueryMapJob
from stm_agent.train.query_rows import query_rows

LEVER = "query map"
"""Name of the lever in the record, and of the event that says how a map was trained."""
MAPPED = " with a query map"
"""What the label of a model with a map ends with."""
MOST_PAIRS = 3000
"""Pairs that a map learns from; more are drawn by hash. Their passages may have no vectors of the model yet."""
MOST_PASSAGES = 5000
"""Passages of a corpus up to which all of them compete if the start has encoded them; more make steps slow."""


def map_pairs(context: RunContext, state: State) -> tuple[Pair, ...]:
    """Return the pairs that a map learns from, at most :data:`MOST_PAIRS`.

    They are those with judged queries, on which early stopping can rely; if these are too few for it, what the
    generator wrote and passages alone give are pairs too, as far as an expert learns from them.
    """
    listed = dict.fromkeys(source for expert in context.spec.experts for source in expert.sources)
    judged = tuple(source for source in listed if context.data.sources.get(source))
    enough = sum(len(context.data.sources[source]) for source in judged) >= FEWEST
    sources = judged if enough else tuple(listed)
    pairs = pairs_of(
        context, ExpertSpec(name="map", sources=sources, steps=STEPS), state.training_data or TrainingData()
    )
    return tuple(sorted(pairs, key=lambda pair: sha256_text(pair.id))[:MOST_PAIRS])


def query_map_job(context: RunContext, state: State) -> QueryMapJob:
    """Return the training of a map on the provisional model."""
    provisional, pairs = state.provisional, map_pairs(context, state)
    data = with_unlabelled(context.data, [pair.source for pair in pairs])
    return QueryMapJob(
        model=provisional.model.unmapped,
        pairs=pairs,
        pool=_competing(context, data, pairs, provisional.model.documents),
        groups=data.groups,
        instruction=provisional.instruction,
        seed=context.seed,
        cache=context.cache,
    )


def try_query_map(context: RunContext, state: State, round_: int) -> State:
    """Train a map for the provisional model; it is taken if early stopping keeps one and the gate prefers it.

    Args:
        context: The run.
        state: The state before; a map that its model has is replaced.
        round_: Number of the round.
    """
    job = query_map_job(context, state)
    if not _is_learnable(job):
        context.decide(LEVER, f"round {round_}: no map, no train query has its passage in the corpus", kept=False)
        return state
    with context.timed("query-map", f"training a map on query vectors: {job.steps} steps on {len(job.pairs):,} pairs"):
        folder = context.build(job)
    trained = read_json(folder / RESULT)
    before = state.provisional
    label = f"{before.label.removesuffix(MAPPED)}{MAPPED}"
    if not trained["kept_step"]:
        _record(context, label, folder, trained, round_, None)
        context.decide(LEVER, f"round {round_}: no map, {_why_none(trained)}", kept=False)
        return state
    model = replace(before.model.unmapped, query_map=folder / "map")
    mapped = replace(before, label=label, model=model, rating=context.rate(model, before.instruction))
    _record(context, label, folder, trained, round_, mapped)
    floor = general_floor(context, state)
    if mapped.rating.general < floor:
        context.decide(LEVER, f"round {round_}: {label} forgets more than the budget", kept=False)
        return state
    return consider(context, state, mapped, round_, tried=1, strict=True, lever=LEVER)


def _is_learnable(job: QueryMapJob) -> bool:
    """Return whether a pair's passage is in the pool; training sets beside a collection may have others."""
    try:
        query_rows(job.pairs, job.pool, job.groups)
    except DataError:
        return False
    return True


def _why_none(trained: Mapping[str, float]) -> str:
    if trained["held"]:
        gain, error = trained["gain"], trained["standard_error"]
        return f"it gains {gain:+.4f} (standard error {error:.4f}) on {trained['held']:,} queries that are held out"
    return f"the {trained['rows']:,} train queries are too few, or share too many passages, to hold any out"


def _record(
    context: RunContext, label: str, folder: Path, trained: Mapping[str, object], round_: int, mapped: RatedModel | None
) -> None:
    rating = mapped.rating if mapped else None
    context.run.ledger.record(
        LEVER,
        label=label,
        folder=folder.name,
        round=round_,
        search=rating.domain.ndcg_at_10 if rating else None,
        general=rating.general if rating else None,
        **trained,
    )


def _competing(context: RunContext, data: DomainData, pairs: Sequence[Pair], documents: AdaptedModel) -> dict[str, str]:
    """Return the passages that compete: those whose vectors are known, and the passages of the pairs."""
    encoded = documents == context.backbone and len(context.documents) <= MOST_PASSAGES
    return competing_passages(data, pairs, context.documents if encoded else context.search.documents)
