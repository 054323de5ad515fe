"""The query-side lever: experts of queries alone, on top of the provisional model, whose passages keep their vectors.

Nothing of the corpus is encoded again, so that experts, their merges and their scores cost seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.domain.unlabelled import with_unlabelled
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import pairs_of
from stm_agent.loop.merging import consider_models, merge_experts
from stm_agent.loop.state import Expert, RatedModel, State
from stm_agent.loop.training_data import TrainingData
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.adapter_job import AdapterJob
from stm_agent.train.job import training_speed
from stm_agent.train.query_side import QuerySideJob


def improve_query_side(context: RunContext, state: State, round_: int) -> State:
    """Train the query-side experts of the domain, merge them, and take the best if the gate prefers it."""
    specs = [spec for spec in context.spec.experts if spec.side == "query"]
    documents = state.provisional.model.documents
    if not specs:
        return state
    experts: list[Expert] = []
    with context.attempt("query side"):
        start = _start(context, documents)
        for number, spec in enumerate(specs):
            if context.has_time(f"expert {spec.name}"):
                with context.attempt(f"expert {spec.name}"):
                    seed = context.seed + number
                    experts.append(_train(context, state, spec, documents, start, round_, seed))
    if not experts:
        return state
    state = replace(state, experts=(*state.experts, *experts))
    merged: RatedModel | None = None
    if len(experts) > 1 and context.has_time("merge of the query side"):
        with context.attempt("merge of the query side"):
            state, merged = merge_experts(context, state, experts, round_, documents=documents)
    return consider_models(context, state, experts, merged, round_)


def _start(context: RunContext, documents: AdaptedModel) -> Path | None:
    """Return the adapter that the side of queries starts from: what the model of the passages has learnt."""
    used = [path for path, weight in zip(documents.adapters, documents.weights, strict=True) if weight]
    if not used:
        return None
    return context.build(AdapterJob(documents)) / "adapter"


def _train(
    context: RunContext,
    state: State,
    spec: ExpertSpec,
    documents: AdaptedModel,
    start: Path | None,
    round_: int,
    seed: int,
) -> Expert:
    instruction = state.provisional.instruction
    data = with_unlabelled(context.data, spec.sources)
    pairs = pairs_of(context, spec, state.training_data or TrainingData())
    name = spec.name if round_ == 1 else f"{spec.name}@{round_}"
    job = QuerySideJob(
        expert=spec,
        train=context.spec.train,
        backbone=context.spec.backbone,
        documents=documents,
        start=start,
        pairs=pairs,
        pool=_competing(context, data, pairs),
        groups=data.groups,
        instruction=instruction,
        seed=seed,
        cache=context.cache,
    )
    with context.timed("train", f"training expert {name} (queries alone): {spec.steps} steps on {len(pairs):,} pairs"):
        folder = context.build(job)
    model = replace(documents, queries=AdaptedModel(context.spec.backbone, (folder / "adapter",), (1.0,)))
    with context.timed("rate", f"scoring expert {name} on dev"):
        rating = context.rate(model, instruction)
    _record(context, name, folder, spec, len(pairs), rating.domain.ndcg_at_10, rating.general)
    rated = RatedModel(label=f"expert {name}", model=model, experts=(name,), instruction=instruction, rating=rating)
    expert = Expert(
        name=name,
        spec_name=spec.name,
        variant="query side",
        folder=folder,
        rated=rated,
        texts_per_second=training_speed(folder),
        side="query",
    )
    context.trained.append(expert)
    return expert


def _competing(context: RunContext, data: DomainData, pairs: Sequence[Pair]) -> dict[str, str]:
    """Return the passages that compete: the corpus, whose vectors are known, and the passages of the pairs."""
    needed = {passage for pair in pairs for passage in data.groups.get(pair.group, ())}
    texts = {pair.positive for pair in pairs}
    return {
        name: text for name, text in data.pool.items() if name in context.documents or name in needed or text in texts
    }


def _record(
    context: RunContext, name: str, folder: Path, spec: ExpertSpec, pairs: int, searched: float, general: float
) -> None:
    context.run.ledger.record(
        "expert",
        name=name,
        variant="query side",
        folder=folder.name,
        steps=spec.steps,
        pairs=pairs,
        negatives={},
        search=searched,
        general=general,
    )
    text = f"expert {name} (queries alone): nDCG@10 {searched:.4f} on the search half of dev, general {general:.4f}"
    context.observer({"kind": "decision", "name": "expert", "text": text})
