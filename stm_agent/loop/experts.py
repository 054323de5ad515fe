"""The expert lever: one LoRA adapter for each data source, in the variant that the search half of dev prefers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import pairs_of
from stm_agent.loop.other_starts import domain_of
from stm_agent.loop.state import Expert, RatedModel, State
from stm_agent.loop.training import TrainingPlan, build_training, training_job
from stm_agent.loop.training_data import TrainingData, negative_kinds
from stm_agent.loop.variants import Choice, Variant, choose_variant, variants
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.train.job import NO_NEGATIVES, Negatives, training_speed


@dataclass(frozen=True)
class TrainedExperts:
    """What the training of one expert gave.

    Attributes:
        experts: Its variants that could be trained.
        compared: Variants that probes compared with an incumbent.
    """

    experts: tuple[Expert, ...]
    compared: int


def train_expert(
    context: RunContext,
    state: State,
    spec: ExpertSpec,
    round_: int,
    start: Path | None,
    *,
    pairs: tuple[Pair, ...] | None = None,
) -> TrainedExperts:
    """Train one expert of both sides on the training data of a state, and rate it on dev.

    Args:
        context: The run.
        state: Its training data are used, and the instruction and the start of its provisional model.
        spec: The expert.
        round_: Number of the round.
        start: Adapter folder from which training starts; None: the backbone.
        pairs: What it learns from; None: all pairs of its sources.
    """
    training_data = state.training_data or TrainingData()
    plan = TrainingPlan(
        spec=spec,
        pairs=pairs_of(context, spec, training_data) if pairs is None else pairs,
        training_data=training_data,
        start=start,
        suffix=name_suffix(state, spec.name, round_),
        domain=domain_of(context, state),
    )
    choice = _choice(context, plan, state.provisional.instruction)
    return TrainedExperts(tuple(_train_variants(context, plan, choice, round_)), choice.compared)


def listed_start(context: RunContext, state: State, spec: ExpertSpec, round_: int) -> Path | None:
    """Return the adapter that an expert starts from: the best variant, in this round, of the expert that it names."""
    if spec.start is None:
        return None
    trained = [expert for expert in state.experts_here() if (expert.spec_name, expert.round) == (spec.start, round_)]
    if not trained:
        context.warn("train", f"expert {spec.name} starts from the backbone: expert {spec.start} is missing")
        return None
    return max(trained, key=lambda expert: expert.rated.rating.domain.ndcg_at_10).adapter


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
            trained.append(_train(context, variant, name, plan, round_))
        if trained and not every:
            break
    return trained


def _train(context: RunContext, variant: Variant, name: str, plan: TrainingPlan, round_: int) -> Expert:
    spec, instruction = variant.spec, variant.instruction
    name = in_round(f"{name}{plan.suffix}", round_)
    negatives = plan.training_data.for_expert(spec, plan.pairs)
    _report_negatives(context, name, spec, len(plan.pairs), negatives)
    text = f"training expert {name} ({variant.label}): {spec.steps} steps on {len(plan.pairs):,} pairs"
    with context.timed("train", text):
        folder = build_training(context, training_job(context, spec, plan, negatives, instruction))
    model = AdaptedModel(plan.domain_in(context).backbone, (folder / "adapter",), (1.0,))
    return rate_expert(context, plan, variant, name, folder, model, negatives, round_=round_)


def name_suffix(state: State, name: str, round_: int) -> str:
    """Return what is added to the name of an expert that was trained in this round before: one ``+`` each time."""
    before = [expert.name for expert in state.experts if (expert.spec_name, expert.round) == (name, round_)]
    stems = [trained.partition("@")[0] for trained in before]
    return "+" * (1 + max(len(stem) - len(stem.rstrip("+")) for stem in stems)) if stems else ""


def in_round(name: str, round_: int) -> str:
    """Return the name of an expert, or of one of its variants, in a round."""
    return name if round_ == 1 else f"{name}@{round_}"


def rate_expert(
    context: RunContext,
    plan: TrainingPlan,
    variant: Variant,
    name: str,
    folder: Path,
    model: AdaptedModel,
    negatives: Negatives = NO_NEGATIVES,
    *,
    round_: int,
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
        round_: Number of the round.
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
        round=round_,
        spec=plan.spec,
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
        sources=list(plan.spec.sources),
        negatives=kinds,
        search=searched,
        general=general,
        **_other_start(context, expert),
    )
    text = (
        f"expert {expert.name} ({expert.variant}): nDCG@10 {searched:.4f} on the search half of dev, general "
        f"{general:.4f}; trained at {expert.texts_per_second:.0f} texts/s"
    )
    context.observer({"kind": "decision", "name": "expert", "text": text})


def _other_start(context: RunContext, expert: Expert) -> dict[str, str]:
    """Return the start that an expert stands on, if it is not the run's own."""
    start = expert.rated.model.documents.backbone
    return {} if start == context.spec.backbone else {"start": start.model}


def _report_negatives(context: RunContext, name: str, spec: ExpertSpec, pairs: int, negatives: Negatives) -> None:
    """Note how many negatives of each kind an expert has, if it asked for more written ones than there are."""
    wanted = round(spec.negatives.expected_written * pairs)
    kinds = negative_kinds(negatives)
    written = kinds.pop("synthetic", 0)
    if wanted and written < wanted:
        rest = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items())) or "none"
        context.warn("train", f"expert {name}: {written:,} of {wanted:,} written negatives exist; others: {rest}")
