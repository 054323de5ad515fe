"""The mandatory controls: one adapter on all sources, or on a random part, with the steps the experts had together.

The experts' own draw is the control's: a source comes as often as in all their batches together, written queries and
sentences of the corpus included. If there are experts of queries, their steps are trained on top of it, as theirs were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec, NegativeSpec
from stm_agent.files import sha256_text
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import pairs_of
from stm_agent.loop.other_starts import domain_on
from stm_agent.loop.query_side import query_start, train_query_side
from stm_agent.loop.state import Expert, RatedModel, State
from stm_agent.loop.training import TrainingPlan, build_training, training_job
from stm_agent.loop.training_data import TrainingData
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.train.job import TrainingJob, training_speed

RANDOM_PAIRS = 100_000
"""Pairs of the random control; in STM (arXiv 2602.04731, figure 4) they equal all 1.4 million."""

ALL_IN_ONE = "all-in-one"


@dataclass(frozen=True, kw_only=True)
class _Control:
    """One control.

    Attributes:
        name: Name of its row.
        both: The adapter of both sides; None: no expert trained both.
        queries: The adapter of queries on top of it; None: no expert trained queries alone.
    """

    name: str
    both: TrainingPlan | None
    queries: TrainingPlan | None

    @property
    def plans(self) -> list[TrainingPlan]:
        """The trainings in their order."""
        return [plan for plan in (self.both, self.queries) if plan is not None]


def train_controls(context: RunContext, state: State) -> list[Expert]:
    """Train all-in-one, and random pairs if there are over :data:`RANDOM_PAIRS`; leave out a control that fails."""
    listed = {spec.name: spec for spec in context.spec.experts}
    # An expert for a slice, or on another mix, is not as the domain lists it.
    specs = [expert.spec or listed[expert.spec_name] for expert in state.experts]
    everything = _Control(
        name=ALL_IN_ONE,
        both=_plan(context, state, [spec for spec in specs if spec.side == "both"]),
        queries=_plan(context, state, [spec for spec in specs if spec.side == "query"]),
    )
    if not everything.plans:
        context.warn("control", f"{ALL_IN_ONE} not trained: no expert was trained")
        return []
    controls = [everything]
    pairs = max(len(plan.pairs) for plan in everything.plans)
    if pairs <= RANDOM_PAIRS:
        context.note("control", f"random pairs not trained: {pairs:,} pairs are all-in-one already")
    else:
        controls.append(_random(context, everything))
    trained = []
    context.expect(
        _both_job(context, control.both, state.confirmed.instruction)
        for control in controls
        if control.both is not None
    )
    for control in controls:
        if context.has_time(f"control {control.name}"):
            with context.attempt(f"control {control.name}"):
                trained.append(_train(context, control, state.confirmed.instruction))
    return trained


def source_draws(specs: Sequence[ExpertSpec], pairs: Mapping[str, int], batch: int) -> dict[str, float]:
    """Return how many pairs of each source experts draw in all their batches together.

    An expert draws its sources in proportion to their pairs times their weights.

    Args:
        specs: The experts, one that was trained several times as often.
        pairs: Number of pairs of each source.
        batch: Pairs a step of an expert that has no batch size of its own.
    """
    draws = dict.fromkeys((source for spec in specs for source in spec.sources), 0.0)
    for spec in specs:
        parts = {source: pairs[source] * spec.source_weights.get(source, 1.0) for source in spec.sources}
        total = sum(parts.values())
        for source, part in parts.items():
            draws[source] += spec.steps * (spec.batch_size or batch) * part / total if total else 0.0
    return {source: drawn for source, drawn in draws.items() if drawn}


def _plan(context: RunContext, state: State, specs: Sequence[ExpertSpec]) -> TrainingPlan | None:
    """Return the control's training in place of those of experts of one side; None: there were none with pairs.

    It is InfoNCE at the domain's learning rate, with every auxiliary loss that an expert of both sides has, and with
    the batch size and the negatives that they have if all of them have the same.
    """
    if not specs:
        return None
    data = state.training_data or TrainingData()
    pairs = _pairs_of_sources(context, data, specs)
    counts = {source: len(rows) for source, rows in pairs.items()}
    draws = source_draws(specs, counts, context.spec.train.batch_size)
    if not draws:
        return None
    if specs[0].side == "query" and any(set(spec.sources) != set(draws) for spec in specs):
        context.note("control", f"{ALL_IN_ONE}: its queries are drawn evenly, those of the experts by source")
    control = _spec(specs, {source: drawn / counts[source] for source, drawn in draws.items()})
    chosen = tuple(pair for source in control.sources for pair in pairs[source])
    domain = domain_on(context, state.confirmed.model.documents.backbone)
    return TrainingPlan(spec=control, pairs=chosen, training_data=data, start=None, domain=domain)


def _pairs_of_sources(
    context: RunContext, data: TrainingData, specs: Sequence[ExpertSpec]
) -> dict[str, tuple[Pair, ...]]:
    return {
        source: pairs_of(context, specs[0].model_copy(update={"sources": (source,)}), data)
        for source in sorted({source for spec in specs for source in spec.sources})
    }


def _spec(specs: Sequence[ExpertSpec], weights: Mapping[str, float]) -> ExpertSpec:
    """Return the control's options: one adapter with the steps of all experts of a side.

    Args:
        specs: The experts, all of one side.
        weights: Source -> weight of its pairs, for experts of both sides.
    """
    steps, sources = sum(spec.steps for spec in specs), tuple(weights)
    if specs[0].side == "query":
        return ExpertSpec(name=ALL_IN_ONE, sources=sources, side="query", steps=steps)
    first = specs[0]
    alike = all((spec.batch_size, spec.negatives) == (first.batch_size, first.negatives) for spec in specs)
    return ExpertSpec(
        name=ALL_IN_ONE,
        sources=sources,
        steps=steps,
        source_weights=dict(weights),
        batch_size=first.batch_size if alike else None,
        negatives=first.negatives if alike else NegativeSpec(),
        neighbours=max(spec.neighbours for spec in specs),
        alias_weight=max(spec.alias_weight for spec in specs),
        teacher_weight=max(spec.teacher_weight for spec in specs),
    )


def _random(context: RunContext, everything: _Control) -> _Control:
    def part(plan: TrainingPlan | None) -> TrainingPlan | None:
        return None if plan is None else replace(plan, pairs=_drawn(plan.pairs, context.seed))

    name = f"random-{RANDOM_PAIRS // 1000}K"
    return _Control(name=name, both=part(everything.both), queries=part(everything.queries))


def _drawn(pairs: Sequence[Pair], seed: int) -> tuple[Pair, ...]:
    return tuple(sorted(pairs, key=lambda pair: sha256_text(f"{seed}:{pair.id}"))[:RANDOM_PAIRS])


def _both_job(context: RunContext, plan: TrainingPlan, instruction: Instruction) -> TrainingJob:
    return training_job(context, plan.spec, plan, plan.training_data.for_expert(plan.spec, plan.pairs), instruction)


def _train(context: RunContext, control: _Control, instruction: Instruction) -> Expert:
    model = AdaptedModel(control.plans[0].domain_in(context).backbone)
    steps = sum(plan.spec.steps for plan in control.plans)
    sizes = " and ".join(
        f"{plan.spec.steps} steps on {len(plan.pairs):,} pairs{' of queries alone' if plan is control.queries else ''}"
        for plan in control.plans
    )
    with context.timed("control", f"training the {control.name} control: {sizes}"):
        if control.both is not None:
            job = _both_job(context, control.both, instruction)
            folder = build_training(context, job)
            model = replace(model, adapters=(folder / "adapter",), weights=(1.0,))
        if control.queries is not None:
            start = query_start(context, model)
            folder, model = train_query_side(context, control.queries, instruction, start, context.seed)
        rating = context.rate(model, instruction)
    context.run.ledger.record(
        "control", name=control.name, steps=steps, dev=rating.domain.ndcg_at_10, general=rating.general
    )
    return Expert(
        name=control.name,
        spec_name=control.name,
        variant="FT",
        folder=folder,
        rated=RatedModel(
            label=control.name, model=model, experts=(control.name,), instruction=instruction, rating=rating
        ),
        texts_per_second=training_speed(folder),
    )
