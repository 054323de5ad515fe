"""The mandatory controls: one adapter on all sources, or on a random part, with the steps the experts had together."""

from __future__ import annotations

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import WRITTEN, ExpertSpec
from stm_agent.files import sha256_text
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import pairs_of
from stm_agent.loop.state import Expert, RatedModel, State
from stm_agent.loop.training import TrainingPlan, build_training, training_job
from stm_agent.loop.training_data import TrainingData
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.train.job import NO_NEGATIVES, training_speed

RANDOM_PAIRS = 100_000
"""Pairs of the random control; in STM (arXiv 2602.04731, figure 4) they equal all 1.4 million."""


def train_controls(context: RunContext, state: State) -> list[Expert]:
    """Train all-in-one, and random pairs if there are over :data:`RANDOM_PAIRS`; leave out a control that fails."""
    spec = _all_in_one(context, state)
    if spec is None:
        context.warn("control", "all-in-one not trained: no expert was trained on the collection's own pairs")
        return []
    pairs = pairs_of(context, spec, TrainingData())
    plans = [TrainingPlan(spec=spec, pairs=pairs, training_data=TrainingData(), start=None)]
    if len(pairs) <= RANDOM_PAIRS:
        context.note("control", f"random pairs not trained: {len(pairs):,} pairs are all-in-one already")
    else:
        chosen = sorted(pairs, key=lambda pair: sha256_text(f"{context.seed}:{pair.id}"))[:RANDOM_PAIRS]
        random = spec.model_copy(update={"name": f"random-{RANDOM_PAIRS // 1000}K"})
        plans.append(TrainingPlan(spec=random, pairs=tuple(chosen), training_data=TrainingData(), start=None))
    controls = []
    for plan in plans:
        if context.has_time(f"control {plan.spec.name}"):
            with context.attempt(f"control {plan.spec.name}"):
                controls.append(_train(context, plan, state.confirmed.instruction))
    return controls


def _all_in_one(context: RunContext, state: State) -> ExpertSpec | None:
    """Return the control: InfoNCE at the domain's learning rate, with every auxiliary loss that an expert has."""
    specs = {spec.name: spec for spec in context.spec.experts}
    sources = {source for spec in specs.values() for source in spec.sources} - {WRITTEN}
    steps = sum(specs[expert.spec_name].steps for expert in state.experts)
    if not sources or not steps:
        return None
    return ExpertSpec(
        name="all-in-one",
        sources=tuple(sorted(sources)),
        steps=steps,
        neighbours=max(spec.neighbours for spec in specs.values()),
        alias_weight=max(spec.alias_weight for spec in specs.values()),
        teacher_weight=max(spec.teacher_weight for spec in specs.values()),
    )


def _train(context: RunContext, plan: TrainingPlan, instruction: Instruction) -> Expert:
    spec = plan.spec
    text = f"training the {spec.name} control: {spec.steps} steps on {len(plan.pairs):,} pairs"
    with context.timed("control", text):
        folder = build_training(context, training_job(context, spec, plan, NO_NEGATIVES, instruction))
        model = AdaptedModel(context.spec.backbone, (folder / "adapter",), (1.0,))
        rating = context.rate(model, instruction)
    context.run.ledger.record(
        "control", name=spec.name, steps=spec.steps, dev=rating.domain.ndcg_at_10, general=rating.general
    )
    rated = RatedModel(label=spec.name, model=model, experts=(spec.name,), instruction=instruction, rating=rating)
    return Expert(
        name=spec.name,
        spec_name=spec.name,
        variant="FT",
        folder=folder,
        rated=rated,
        texts_per_second=training_speed(folder),
    )
