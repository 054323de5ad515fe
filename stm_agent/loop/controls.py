"""The mandatory control: all sources in one adapter, with exactly the steps the experts had together."""

from __future__ import annotations

from collections.abc import Sequence

from stm_agent.domain.spec import ExpertSpec
from stm_agent.instruct.instruction import Instruction
from stm_agent.loop.bench import Bench
from stm_agent.loop.data import Harvest, pairs_of
from stm_agent.loop.experts import Expert, train_stage, trained_speed
from stm_agent.merge.delta import load_delta


def train_all_in_one(bench: Bench, experts: Sequence[Expert], instruction: Instruction) -> Expert:
    """Train one adapter from the base on every source of the domain, shuffled together."""
    specs = {spec.name: spec for spec in bench.spec.experts}
    steps = sum(specs[expert.name.split("@")[0]].steps for expert in experts)
    material = sorted({source for spec in specs.values() for source in spec.sources} - {"written"})
    # The experts' own means, so that the control differs in how the data are parted and in nothing else.
    spec = ExpertSpec(
        name="all-in-one",
        sources=tuple(material),
        steps=steps,
        neighbours=max(spec.neighbours for spec in specs.values()),
        alias_weight=max(spec.alias_weight for spec in specs.values()),
        teacher_weight=max(spec.teacher_weight for spec in specs.values()),
    )
    pairs = pairs_of(bench, spec, Harvest())
    with bench.timed("control", f"training the all-in-one control: {steps} steps on {len(pairs):,} pairs"):
        folder = train_stage(bench, spec, pairs, {}, None, instruction)
        delta = load_delta(folder / "adapter")
        rating = bench.rate(bench.encoder(delta), instruction)
    bench.run.ledger.record(
        "control", name=spec.name, steps=steps, dev=rating.domain.ndcg_at_10, general=rating.general
    )
    return Expert(spec.name, "FT", folder, delta, rating, trained_speed(folder))
