"""The expert lever: one LoRA adapter per data source, in the variant that dev prefers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.loop.context import Rating, RunContext
from stm_agent.loop.data import TrainingData, pairs_of
from stm_agent.loop.training import train_stage, trained_speed
from stm_agent.loop.variants import Variant, choose_variant, variants
from stm_agent.merge.delta import LoraDelta, load_delta


@dataclass(frozen=True)
class Expert:
    """A trained expert and what is known about it.

    Attributes:
        name: Its name in the domain file; a variant beside others adds its label, later rounds add ``@round``.
        spec_name: Its name in the domain file alone.
        variant: ``FT``, ``FT+SHN``, ``FT+PO`` or ``FT+SHN+PO``, as STM names them.
        folder: The stage folder with ``adapter/`` and ``expert.json``.
        delta: The LoRA delta against the backbone.
        instruction: What it was trained with and is scored with.
        rating: Dev scores.
        texts_per_second: Speed of its training.
    """

    name: str
    spec_name: str
    variant: str
    folder: Path
    delta: LoraDelta
    instruction: Instruction
    rating: Rating
    texts_per_second: float


def train_all(context: RunContext, training_data: TrainingData, instruction: Instruction, round_: int) -> list[Expert]:
    """Train the domain's experts in the order of its file and rate each on dev."""
    done: dict[str, Expert] = {}
    everyone: list[Expert] = []
    for spec in context.spec.experts:
        if context.budget.exhausted and done:
            context.note("train", f"expert {spec.name} skipped: the budget is used up")
            continue
        pairs = pairs_of(context, spec, training_data)
        if len(pairs) < (spec.batch_size or context.spec.train.batch_size):
            context.note("train", f"expert {spec.name} skipped: {len(pairs)} pairs are fewer than one batch")
            continue
        start = done.get(spec.start or "")
        begin = start.folder / "adapter" if start else None
        said = instruction if spec.instruction is None else instruction.saying(spec.instruction, "expert")
        if context.spec.merge.variants:
            chosen = variants(spec, said)
        else:
            chosen = [choose_variant(context, spec, pairs, training_data, begin, said)]
        trained = []
        for variant in chosen:
            name = spec.name if len(chosen) == 1 else f"{spec.name} {variant.label}"
            name = name if round_ == 1 else f"{name}@{round_}"
            trained.append(_train(context, variant, name, pairs, training_data, begin))
        everyone += trained
        # Who goes on from this expert goes on from its best variant.
        done[spec.name] = max(trained, key=lambda expert: expert.rating.domain.ndcg_at_10)
    return everyone


def _train(
    context: RunContext,
    variant: Variant,
    name: str,
    pairs: Sequence[Pair],
    training_data: TrainingData,
    start: Path | None,
) -> Expert:
    spec, instruction = variant.spec, variant.instruction
    negatives = training_data.for_expert(spec, pairs)
    with context.timed(
        "train", f"training expert {name} ({variant.label}): {spec.steps} steps on {len(pairs):,} pairs"
    ):
        folder = train_stage(context, spec, pairs, negatives, start, instruction)
    delta = load_delta(folder / "adapter")
    with context.timed("rate", f"scoring expert {name} on dev"):
        rating = context.rate(context.encoder(delta), instruction)
    context.run.ledger.record(
        "expert",
        name=name,
        variant=variant.label,
        folder=folder.name,
        steps=spec.steps,
        pairs=len(pairs),
        dev=rating.domain.ndcg_at_10,
        general=rating.general,
    )
    speed = trained_speed(folder)
    text = (
        f"expert {name} ({variant.label}): dev nDCG@10 {rating.domain.ndcg_at_10:.4f}, general {rating.general:.4f}; "
        f"trained at {speed:.0f} texts/s"
    )
    context.observer({"kind": "decision", "name": "expert", "text": text})
    return Expert(name, variant.spec.name, variant.label, folder, delta, instruction, rating, speed)
