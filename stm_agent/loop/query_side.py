"""The query-side lever: experts of queries alone, on top of the provisional model, whose passages keep their vectors.

Nothing of the corpus is encoded again, so that experts, their merges and their scores cost seconds.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.domain.unlabelled import with_unlabelled
from stm_agent.errors import DataError
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import pairs_of
from stm_agent.loop.experts import in_round, name_suffix, rate_expert
from stm_agent.loop.other_starts import domain_of
from stm_agent.loop.state import Expert, State
from stm_agent.loop.teaching import taught_lists
from stm_agent.loop.training import TrainingPlan, lists_of
from stm_agent.loop.training_data import TrainingData
from stm_agent.loop.variants import Variant
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.adapter_job import AdapterJob
from stm_agent.merge.export_job import ExportJob
from stm_agent.merge.query_start import INCUMBENT, QueryStart, standing_on
from stm_agent.merge.recipe import SUM
from stm_agent.train.query_side import QuerySideJob

QUERIES_ALONE = "queries alone"
"""Label of the one variant that an expert of queries has."""


def train_query_expert(
    context: RunContext, state: State, spec: ExpertSpec, round_: int, before: Expert | None = None
) -> Expert:
    """Train one expert of queries on top of the provisional model, and rate it on dev.

    Args:
        context: The run.
        state: Its training data and its provisional model are used.
        spec: The expert.
        round_: Number of the round.
        before: Expert of queries whose training continues; None: it starts from what the model of the passages has
            learnt.
    """
    documents = state.provisional.model.documents
    if before is None:
        start = query_start(context, documents)
    else:
        start = QueryStart(documents=documents, backbone=before.rated.model.merged.backbone, adapter=before.adapter)
    plan = _plan(context, state, spec, start, round_)
    if spec.learns_from_scores:
        plan = _taught(context, state, plan)
    return _train(context, plan, state.provisional.instruction, start, round_, _seed(context, spec))


def query_expert_jobs(context: RunContext, state: State, spec: ExpertSpec) -> Iterator[QuerySideJob]:
    """Yield the training of :func:`train_query_expert`, if what it starts from needs nothing to be built first."""
    documents = state.provisional.model.documents
    if spec.learns_from_scores or (any(documents.weights) and documents.method != SUM):
        return
    adapter = None
    if any(documents.weights):
        (folder,) = context.executor.run([AdapterJob(documents)])
        adapter = folder / "adapter"
    start = QueryStart(documents=documents, backbone=documents.backbone, adapter=adapter)
    plan = _plan(context, state, spec, start, 1)
    yield query_side_job(context, plan, state.provisional.instruction, start, _seed(context, spec))


def _plan(context: RunContext, state: State, spec: ExpertSpec, start: QueryStart, round_: int) -> TrainingPlan:
    training_data = state.training_data or TrainingData()
    return TrainingPlan(
        spec=spec,
        pairs=pairs_of(context, spec, training_data),
        training_data=training_data,
        start=start.adapter,
        suffix=name_suffix(state, spec.name, round_),
        domain=domain_of(context, state),
    )


def _taught(context: RunContext, state: State, plan: TrainingPlan) -> TrainingPlan:
    """Return the plan with a teacher's scores, of which the model of the passages may be a part.

    Raises:
        DataError: No pair has scores.
    """
    own = state.provisional.model.documents, state.provisional.instruction
    lists = taught_lists(context, with_unlabelled(context.data, plan.spec.sources), plan.pairs, own)
    if not lists:
        raise DataError(f"expert {plan.spec.name}: no pair has scores of a teacher, so there is nothing to distil")
    return replace(plan, training_data=replace(plan.training_data, lists=lists))


def _seed(context: RunContext, spec: ExpertSpec) -> int:
    """Return the seed of an expert of queries: experts of the same sources differ by it."""
    names = [listed.name for listed in context.spec.experts if listed.side == "query"]
    return context.seed + names.index(spec.name)


def query_experts(state: State) -> list[Expert]:
    """Return the experts of queries that can be merged, of any round.

    Their passages have the vectors of the provisional model, and their adapters belong to one backbone. One that a
    later round found trained already counts once.
    """
    documents = state.provisional.model.documents
    trained = {
        expert.folder: expert
        for expert in reversed(state.experts)
        if expert.side == "query" and expert.rated.model.documents == documents
    }
    experts = list(reversed(trained.values()))
    return [
        expert for expert in experts if expert.rated.model.merged.backbone == experts[0].rated.model.merged.backbone
    ]


def merge_start(experts: Sequence[Expert]) -> QueryStart:
    """Return what :func:`query_experts` stand on."""
    model = experts[0].rated.model
    return QueryStart(documents=model.documents, backbone=model.merged.backbone, adapter=None)


def with_incumbent(context: RunContext, experts: Sequence[Expert]) -> list[Expert]:
    """Return experts of queries with the model that they stand on as one more, unless that is the backbone.

    A merge lies between its members and the backbone. The experts of queries start from a model that has learnt much
    already, so the way back from what they forget must end there and not at the backbone.
    """
    documents = experts[0].rated.model.documents
    if documents.method != SUM or not any(documents.weights):
        # A backbone, or a merge that was written as the backbone of the side of queries.
        return list(experts)
    first = experts[0]
    folder = context.build(AdapterJob(documents))
    model = replace(documents, queries=AdaptedModel(documents.backbone, (folder / "adapter",), (1.0,)))
    rating = context.rate(model, first.rated.instruction)
    rated = replace(first.rated, label=INCUMBENT, model=model, experts=(INCUMBENT,), rating=rating)
    return [*experts, replace(first, name=INCUMBENT, spec_name=INCUMBENT, folder=folder, rated=rated, spec=None)]


def query_start(context: RunContext, documents: AdaptedModel) -> QueryStart:
    """Return what the side of queries starts from: what the model of the passages has learnt.

    A sum of adapters is one adapter. A merge by another method is not, so it is written as a model of its own, and the
    adapters of queries are trained on that.
    """
    if documents.method == SUM or not any(documents.weights):
        return QueryStart(documents=documents, backbone=documents.backbone, adapter=summed_adapter(context, documents))
    prompts = {name: text or "" for name, text in AdaptedModel(documents.backbone).open().model.prompts.items()}
    job = ExportJob(model=documents, prompts=prompts, card="A merge that experts of queries start from.\n")
    return QueryStart(documents=documents, backbone=standing_on(documents.backbone, context.build(job)), adapter=None)


def summed_adapter(context: RunContext, model: AdaptedModel) -> Path | None:
    """Return one adapter that holds what a model has learnt, to start from; None: the backbone.

    Raises:
        ConfigError: The model is merged by another method than a sum.
    """
    return context.build(AdapterJob(model)) / "adapter" if any(model.weights) else None


def _train(
    context: RunContext, plan: TrainingPlan, instruction: Instruction, start: QueryStart, round_: int, seed: int
) -> Expert:
    spec, name = plan.spec, in_round(f"{plan.spec.name}{plan.suffix}", round_)
    text = f"training expert {name} ({QUERIES_ALONE}): {spec.steps} steps on {len(plan.pairs):,} pairs"
    with context.timed("train", text):
        folder, model = train_query_side(context, plan, instruction, start, seed)
    variant = Variant(QUERIES_ALONE, spec, instruction)
    return rate_expert(context, plan, variant, name, folder, model, round_=round_)


def train_query_side(
    context: RunContext, plan: TrainingPlan, instruction: Instruction, start: QueryStart, seed: int
) -> tuple[Path, AdaptedModel]:
    """Train an adapter of queries alone; return its stage folder and the model that it makes.

    Args:
        context: The run.
        plan: The expert and its pairs.
        instruction: What stands in front of queries and passages.
        start: What the side of queries starts from.
        seed: Seed of the new weights and of the order.
    """
    folder = context.build(query_side_job(context, plan, instruction, start, seed))
    queries = AdaptedModel(start.backbone, (folder / "adapter",), (1.0,))
    return folder, replace(start.documents, queries=queries)


def query_side_job(
    context: RunContext, plan: TrainingPlan, instruction: Instruction, start: QueryStart, seed: int
) -> QuerySideJob:
    """Return the job of :func:`train_query_side`."""
    spec, pairs = plan.spec, plan.pairs
    data = with_unlabelled(context.data, spec.sources)
    return QuerySideJob(
        expert=spec,
        train=plan.domain_in(context).train,
        backbone=start.backbone,
        documents=start.documents,
        start=start.adapter,
        pairs=pairs,
        lists=lists_of(spec, plan),
        pool=competing_passages(data, pairs, context.documents),
        groups=data.groups,
        instruction=instruction,
        seed=seed,
        cache=context.cache,
    )


def competing_passages(data: DomainData, pairs: Sequence[Pair], corpus: Container[str]) -> dict[str, str]:
    """Return the passages that compete: those of a corpus, whose vectors are known, and the passages of the pairs."""
    needed = {passage for pair in pairs for passage in data.groups.get(pair.group, ())}
    texts = {pair.positive for pair in pairs}
    return {name: text for name, text in data.pool.items() if name in corpus or name in needed or text in texts}
