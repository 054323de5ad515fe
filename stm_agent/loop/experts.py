"""The expert lever: one LoRA adapter for each data source, in the variant that the search half of dev prefers."""

from __future__ import annotations

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import ExpertSpec
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import TrainingData, negative_kinds, pairs_of
from stm_agent.loop.state import Expert, RatedModel
from stm_agent.loop.training import TrainingPlan, build_training, training_job
from stm_agent.loop.variants import Variant, choose_variant, variants
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.train.job import Negatives, training_speed


def train_all(context: RunContext, training_data: TrainingData, instruction: Instruction, round_: int) -> list[Expert]:
    """Train the domain's experts in the order of its file and rate each on dev; an expert that fails is left out."""
    best: dict[str, Expert] = {}
    everyone: list[Expert] = []
    for spec in context.spec.experts:
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
            trained = _train_variants(context, plan, instruction, round_)
            everyone += trained
            if trained:
                # Experts that start from this one start from its best variant.
                best[spec.name] = max(trained, key=lambda expert: context.searched(expert.rated.rating.domain))
    return everyone


def _train_variants(context: RunContext, plan: TrainingPlan, instruction: Instruction, round_: int) -> list[Expert]:
    spec = plan.spec
    batch = spec.batch_size or context.spec.train.batch_size
    if len(plan.pairs) < batch:
        context.warn(
            "train", f"expert {spec.name} skipped: {len(plan.pairs)} pairs are fewer than one batch of {batch}"
        )
        return []
    own = instruction if spec.instruction is None else instruction.saying(spec.instruction, "expert")
    chosen = variants(spec, own) if context.spec.merge.variants else [choose_variant(context, plan, own)]
    trained = []
    for variant in chosen:
        name = spec.name if len(chosen) == 1 else f"{spec.name} {variant.label}"
        trained.append(_train(context, variant, name if round_ == 1 else f"{name}@{round_}", plan))
    return trained


def _train(context: RunContext, variant: Variant, name: str, plan: TrainingPlan) -> Expert:
    spec, instruction = variant.spec, variant.instruction
    negatives = plan.training_data.for_expert(spec, plan.pairs)
    _report_negatives(context, name, spec, len(plan.pairs), negatives)
    text = f"training expert {name} ({variant.label}): {spec.steps} steps on {len(plan.pairs):,} pairs"
    with context.timed("train", text):
        folder = build_training(context, training_job(context, spec, plan, negatives, instruction))
    with context.timed("rate", f"scoring expert {name} on dev"):
        model = AdaptedModel(context.spec.backbone, (folder / "adapter",), (1.0,))
        rating = context.rate(model, instruction)
    speed, searched = training_speed(folder), context.searched(rating.domain)
    context.run.ledger.record(
        "expert",
        name=name,
        variant=variant.label,
        folder=folder.name,
        steps=spec.steps,
        pairs=len(plan.pairs),
        negatives=negative_kinds(negatives),
        search=searched,
        general=rating.general,
    )
    text = (
        f"expert {name} ({variant.label}): nDCG@10 {searched:.4f} on the search half of dev, general "
        f"{rating.general:.4f}; trained at {speed:.0f} texts/s"
    )
    context.observer({"kind": "decision", "name": "expert", "text": text})
    rated = RatedModel(label=f"expert {name}", model=model, experts=(name,), instruction=instruction, rating=rating)
    expert = Expert(
        name=name, spec_name=spec.name, variant=variant.label, folder=folder, rated=rated, texts_per_second=speed
    )
    context.trained.append(expert)
    return expert


def _report_negatives(context: RunContext, name: str, spec: ExpertSpec, pairs: int, negatives: Negatives) -> None:
    """Note how many negatives of each kind an expert has, if it asked for more written ones than there are."""
    wanted = spec.negatives.synthetic * pairs
    kinds = negative_kinds(negatives)
    written = kinds.pop("synthetic", 0)
    if wanted and written < wanted:
        rest = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items())) or "none"
        context.warn("train", f"expert {name}: {written:,} of {wanted:,} written negatives exist; others: {rest}")
