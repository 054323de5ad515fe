"""The query-side lever: experts of queries alone, on top of the provisional model, whose passages keep their vectors.

Nothing of the corpus is encoded again, so that experts, their merges and their scores cost seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.unlabelled import with_unlabelled
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import pairs_of
from stm_agent.loop.experts import rate_expert
from stm_agent.loop.merging import consider_models, merge_experts
from stm_agent.loop.state import Expert, RatedModel, State
from stm_agent.loop.training import TrainingPlan
from stm_agent.loop.training_data import TrainingData
from stm_agent.loop.variants import Variant
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.adapter_job import AdapterJob
from stm_agent.train.query_side import QuerySideJob

QUERIES_ALONE = "queries alone"
"""Label of the one variant that an expert of queries has."""


def improve_query_side(context: RunContext, state: State, round_: int) -> State:
    """Train the query-side experts of the domain, merge them, and take the best if the gate prefers it."""
    specs = [spec for spec in context.spec.experts if spec.side == "query"]
    documents = state.provisional.model.documents
    if not specs:
        return state
    experts: list[Expert] = []
    with context.attempt("query side"):
        start = query_start(context, documents)
        for number, spec in enumerate(specs):
            if context.has_time(f"expert {spec.name}"):
                with context.attempt(f"expert {spec.name}"):
                    training_data = state.training_data or TrainingData()
                    plan = TrainingPlan(
                        spec=spec,
                        pairs=pairs_of(context, spec, training_data),
                        training_data=training_data,
                        start=start,
                    )
                    instruction = state.provisional.instruction
                    name = spec.name if round_ == 1 else f"{spec.name}@{round_}"
                    seed = context.seed + number
                    experts.append(_train(context, plan, instruction, documents, name, seed))
    if not experts:
        return state
    state = replace(state, experts=(*state.experts, *experts))
    merged: RatedModel | None = None
    if len(experts) > 1 and context.has_time("merge of the query side"):
        with context.attempt("merge of the query side"):
            state, merged = merge_experts(context, state, experts, round_, documents=documents)
    return consider_models(context, state, experts, merged, round_)


def query_start(context: RunContext, documents: AdaptedModel) -> Path | None:
    """Return the adapter that the side of queries starts from: what the model of the passages has learnt."""
    used = [path for path, weight in zip(documents.adapters, documents.weights, strict=True) if weight]
    return context.build(AdapterJob(documents)) / "adapter" if used else None


def _train(
    context: RunContext, plan: TrainingPlan, instruction: Instruction, documents: AdaptedModel, name: str, seed: int
) -> Expert:
    spec = plan.spec
    text = f"training expert {name} ({QUERIES_ALONE}): {spec.steps} steps on {len(plan.pairs):,} pairs"
    with context.timed("train", text):
        folder, model = train_query_side(context, plan, instruction, documents, seed)
    return rate_expert(context, plan, Variant(QUERIES_ALONE, spec, instruction), name, folder, model)


def train_query_side(
    context: RunContext, plan: TrainingPlan, instruction: Instruction, documents: AdaptedModel, seed: int
) -> tuple[Path, AdaptedModel]:
    """Train an adapter of queries alone; return its stage folder and the model that it makes.

    Args:
        context: The run.
        plan: The expert, its pairs, and the adapter it starts from.
        instruction: What stands in front of queries and passages.
        documents: The model whose vectors the passages keep.
        seed: Seed of the new weights and of the order.
    """
    spec, pairs = plan.spec, plan.pairs
    data = with_unlabelled(context.data, spec.sources)
    job = QuerySideJob(
        expert=spec,
        train=context.spec.train,
        backbone=context.spec.backbone,
        documents=documents,
        start=plan.start,
        pairs=pairs,
        pool=_competing(context, data, pairs),
        groups=data.groups,
        instruction=instruction,
        seed=seed,
        cache=context.cache,
    )
    folder = context.build(job)
    return folder, replace(documents, queries=AdaptedModel(context.spec.backbone, (folder / "adapter",), (1.0,)))


def _competing(context: RunContext, data: DomainData, pairs: Sequence[Pair]) -> dict[str, str]:
    """Return the passages that compete: the corpus, whose vectors are known, and the passages of the pairs."""
    needed = {passage for pair in pairs for passage in data.groups.get(pair.group, ())}
    texts = {pair.positive for pair in pairs}
    return {
        name: text for name, text in data.pool.items() if name in context.documents or name in needed or text in texts
    }
