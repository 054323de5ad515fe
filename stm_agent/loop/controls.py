"""The mandatory controls: one adapter on all sources, or on a random part, with the steps the experts had together."""

from __future__ import annotations

from collections.abc import Sequence

from stm_agent.domain.material import Pair
from stm_agent.domain.spec import WRITTEN, ExpertSpec
from stm_agent.files import sha256_text
from stm_agent.instruct.instruction import Instruction
from stm_agent.loop.bench import Bench
from stm_agent.loop.data import Harvest, pairs_of
from stm_agent.loop.experts import Expert
from stm_agent.loop.training import train_stage, trained_speed
from stm_agent.merge.delta import load_delta

RANDOM = 100_000
"""Pairs of the random control; in STM (arXiv 2602.04731, figure 4) they equal all 1.4 million."""


def train_controls(bench: Bench, experts: Sequence[Expert], instruction: Instruction) -> list[Expert]:
    """Train all-in-one, and random pairs where there are more than :data:`RANDOM`."""
    spec = _all_in_one(bench, experts)
    if spec is None:
        bench.note("control", "all-in-one not trained: the experts have written queries only")
        return []
    pairs = pairs_of(bench, spec, Harvest())
    controls = [_train(bench, spec, pairs, instruction)]
    if len(pairs) <= RANDOM:
        bench.note("control", f"random pairs not trained: {len(pairs):,} pairs are all-in-one already")
        return controls
    chosen = sorted(pairs, key=lambda pair: sha256_text(f"{bench.seed}:{pair.id}"))[:RANDOM]
    random = spec.model_copy(update={"name": f"random-{RANDOM // 1000}K"})
    return [*controls, _train(bench, random, chosen, instruction)]


def _all_in_one(bench: Bench, experts: Sequence[Expert]) -> ExpertSpec | None:
    """Return the control: InfoNCE at the domain's learning rate, with every help that an expert has."""
    specs = {spec.name: spec for spec in bench.spec.experts}
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


def _train(bench: Bench, spec: ExpertSpec, pairs: Sequence[Pair], instruction: Instruction) -> Expert:
    with bench.timed("control", f"training the {spec.name} control: {spec.steps} steps on {len(pairs):,} pairs"):
        folder = train_stage(bench, spec, pairs, {}, None, instruction)
        delta = load_delta(folder / "adapter")
        rating = bench.rate(bench.encoder(delta), instruction)
    bench.run.ledger.record(
        "control", name=spec.name, steps=spec.steps, dev=rating.domain.ndcg_at_10, general=rating.general
    )
    return Expert(spec.name, spec.name, "FT", folder, delta, instruction, rating, trained_speed(folder))
