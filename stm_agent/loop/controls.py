"""The mandatory controls: one adapter on all sources, or on a random part, with the steps the experts had together."""

from __future__ import annotations

from collections.abc import Sequence

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import WRITTEN, ExpertSpec
from stm_agent.files import sha256_text
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import TrainingData, pairs_of
from stm_agent.loop.experts import Expert
from stm_agent.loop.training import train_stage, trained_speed
from stm_agent.merge.delta import load_delta

RANDOM = 100_000
"""Pairs of the random control; in STM (arXiv 2602.04731, figure 4) they equal all 1.4 million."""


def train_controls(context: RunContext, experts: Sequence[Expert], instruction: Instruction) -> list[Expert]:
    """Train all-in-one, and random pairs where there are more than :data:`RANDOM`."""
    spec = _all_in_one(context, experts)
    if spec is None:
        context.note("control", "all-in-one not trained: the experts have written queries only")
        return []
    pairs = pairs_of(context, spec, TrainingData())
    controls = [_train(context, spec, pairs, instruction)]
    if len(pairs) <= RANDOM:
        context.note("control", f"random pairs not trained: {len(pairs):,} pairs are all-in-one already")
        return controls
    chosen = sorted(pairs, key=lambda pair: sha256_text(f"{context.seed}:{pair.id}"))[:RANDOM]
    random = spec.model_copy(update={"name": f"random-{RANDOM // 1000}K"})
    return [*controls, _train(context, random, chosen, instruction)]


def _all_in_one(context: RunContext, experts: Sequence[Expert]) -> ExpertSpec | None:
    """Return the control: InfoNCE at the domain's learning rate, with every help that an expert has."""
    specs = {spec.name: spec for spec in context.spec.experts}
    sources = {source for spec in specs.values() for source in spec.sources} - {WRITTEN}
    if not sources:
        return None
    return ExpertSpec(
        name="all-in-one",
        sources=tuple(sorted(sources)),
        steps=sum(specs[expert.spec_name].steps for expert in experts),
        neighbours=max(spec.neighbours for spec in specs.values()),
        alias_weight=max(spec.alias_weight for spec in specs.values()),
        teacher_weight=max(spec.teacher_weight for spec in specs.values()),
    )


def _train(context: RunContext, spec: ExpertSpec, pairs: Sequence[Pair], instruction: Instruction) -> Expert:
    with context.timed("control", f"training the {spec.name} control: {spec.steps} steps on {len(pairs):,} pairs"):
        folder = train_stage(context, spec, pairs, {}, None, instruction)
        delta = load_delta(folder / "adapter")
        rating = context.rate(context.encoder(delta), instruction)
    context.run.ledger.record(
        "control", name=spec.name, steps=spec.steps, dev=rating.domain.ndcg_at_10, general=rating.general
    )
    return Expert(spec.name, spec.name, "FT", folder, delta, instruction, rating, trained_speed(folder))
