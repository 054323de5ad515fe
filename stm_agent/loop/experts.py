"""The expert lever: one LoRA adapter for each data source, in the variant that the search half of dev prefers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import ExpertSpec
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import pairs_of
from stm_agent.loop.state import Expert, RatedModel
from stm_agent.loop.training import TrainingPlan, build_training, training_job
from stm_agent.loop.training_data import TrainingData, negative_kinds
from stm_agent.loop.variants import Choice, Variant, choose_variant, variants
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.train.job import NO_NEGATIVES, Negatives, training_speed


@dataclass(frozen=True)
class TrainedExperts:
    """Experts of one round.

    Attributes:
        experts: Those that could be trained.
        compared: Variants that probes compared with an incumbent.
    """

    experts: tuple[Expert, ...]
    compared: int


def train_all(
    context: RunContext, training_data: TrainingData, instruction: Instruction, round_: int
) -> TrainedExperts:
    """Train the domain's experts in the order of its file and rate each on dev; an expert that fails is left out."""
    best: dict[str, Expert] = {}
    everyone: list[Expert] = []
    compared = 0
    for spec in context.spec.experts:
        if spec.side == "query":
            continue
        if not context.has_time(f"expert {spec.name}"):
            continue
        if spec.start is not None and spec.start not in best:
            context.warn("train", f"expert {spec.name} starts from the backbone: expert {spec.start} is missing")
        with context.attempt(f"expert {spec.name}"):
            start = best.get(spec.start or "")
            plan = TrainingPlan(
                spec=spec,
                pairs=pairs_of(context, spec, training_data),
                training_data=training_data,
                start=start.adapter if start else None,
            )
            choice = _choice(context, plan, instruction)
            compared += choice.compared
            trained = _train_variants(context, plan, choice, round_)
            everyone += trained
            if trained:
                # Experts that start from this one start from its best variant.
                best[spec.name] = max(trained, key=lambda expert: expert.rated.rating.domain.ndcg_at_10)
    return TrainedExperts(tuple(everyone), compared)


def _choice(context: RunContext, plan: TrainingPlan, instruction: Instruction) -> Choice:
    """Return the variants to train: all for the merge, or the one that the probes prefer, then its substitutes."""
    spec = plan.spec
    batch = spec.batch_size or context.spec.train.batch_size
    if len(plan.pairs) < batch:
        context.warn(
            "train", f"expert {spec.name} skipped: {len(plan.pairs)} pairs are fewer than one batch of {batch}"
        )
        return Choice(())
    own = instruction if spec.instruction is None else instruction.saying(spec.instruction, "expert")
    return Choice(tuple(variants(spec, own))) if context.spec.merge.variants else choose_variant(context, plan, own)


def _train_variants(context: RunContext, plan: TrainingPlan, choice: Choice, round_: int) -> list[Expert]:
    """Train all variants for the merge, or else the first that can be trained; one that fails costs itself only."""
    every, several = context.spec.merge.variants, len(choice.order) > 1
    trained: list[Expert] = []
    for variant in choice.order:
        labelled = f"{plan.spec.name} {variant.label}" if several else plan.spec.name
        name = labelled if every else plan.spec.name
        with context.attempt(f"expert {labelled}"):
            trained.append(_train(context, variant, name if round_ == 1 else f"{name}@{round_}", plan))
        if trained and not every:
            break
    return trained


def _train(context: RunContext, variant: Variant, name: str, plan: TrainingPlan) -> Expert:
    spec, instruction = variant.spec, variant.instruction
    negatives = plan.training_data.for_expert(spec, plan.pairs)
    _report_negatives(context, name, spec, len(plan.pairs), negatives)
    text = f"training expert {name} ({variant.label}): {spec.steps} steps on {len(plan.pairs):,} pairs"
    with context.timed("train", text):
        folder = build_training(context, training_job(context, spec, plan, negatives, instruction))
    model = AdaptedModel(context.spec.backbone, (folder / "adapter",), (1.0,))
    return rate_expert(context, plan, variant, name, folder, model, negatives)


def rate_expert(
    context: RunContext,
    plan: TrainingPlan,
    variant: Variant,
    name: str,
    folder: Path,
    model: AdaptedModel,
    negatives: Negatives = NO_NEGATIVES,
) -> Expert:
    """Score a trained expert on the search half, and record and show it.

    Args:
        context: The run.
        plan: What it was trained on.
        variant: How it was trained, and the instruction that it is scored with.
        name: Its name in this run.
        folder: Stage folder of its training.
        model: The model that its adapter makes.
        negatives: Hard negatives that it had.
    """
    with context.timed("rate", f"scoring expert {name} on dev"):
        rating = context.rate(model, variant.instruction)
    rated = RatedModel(
        label=f"expert {name}", model=model, experts=(name,), instruction=variant.instruction, rating=rating
    )
    expert = Expert(
        name=name,
        spec_name=plan.spec.name,
        variant=variant.label,
        folder=folder,
        rated=rated,
        texts_per_second=training_speed(folder),
        side=plan.spec.side,
    )
    _record(context, expert, plan, negative_kinds(negatives))
    context.trained.append(expert)
    return expert


def _record(context: RunContext, expert: Expert, plan: TrainingPlan, kinds: Mapping[str, int]) -> None:
    searched, general = expert.rated.rating.domain.ndcg_at_10, expert.rated.rating.general
    context.run.ledger.record(
        "expert",
        name=expert.name,
        variant=expert.variant,
        folder=expert.folder.name,
        steps=plan.spec.steps,
        pairs=len(plan.pairs),
        negatives=kinds,
        search=searched,
        general=general,
    )
    text = (
        f"expert {expert.name} ({expert.variant}): nDCG@10 {searched:.4f} on the search half of dev, general "
        f"{general:.4f}; trained at {expert.texts_per_second:.0f} texts/s"
    )
    context.observer({"kind": "decision", "name": "expert", "text": text})


def _report_negatives(context: RunContext, name: str, spec: ExpertSpec, pairs: int, negatives: Negatives) -> None:
    """Note how many negatives of each kind an expert has, if it asked for more written ones than there are."""
    wanted = round(spec.negatives.expected_written * pairs)
    kinds = negative_kinds(negatives)
    written = kinds.pop("synthetic", 0)
    if wanted and written < wanted:
        rest = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items())) or "none"
        context.warn("train", f"expert {name}: {written:,} of {wanted:,} written negatives exist; others: {rest}")
