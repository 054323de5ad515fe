"""From a plan to the training job, the same for ``optimize`` and ``train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.memory_errors import release_memory
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.domain.train_spec import LossName
from stm_agent.errors import OutOfMemory
from stm_agent.instruct.seeds import load_seeds
from stm_agent.loop.context import RunContext
from stm_agent.loop.training_data import TrainingData
from stm_agent.mine.lists import Lists
from stm_agent.train.job import Negatives, TrainingJob
from stm_agent.workspace import prompt_path

SMALLEST_BATCH = 2
"""Least number of pairs that a contrastive loss needs."""

CACHED: Mapping[LossName, LossName] = {"infonce": "cached-infonce", "gist": "cached-gist"}
"""Loss -> the same one, computed in parts."""

PARTS = 4
"""Parts of a batch that did not fit, at least."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Data that one expert is trained on.

    Attributes:
        spec: The expert.
        pairs: Its training pairs.
        training_data: Source of its negatives.
        start: Adapter folder from which training starts; None: the backbone.
        suffix: Added to the expert's name, so that a second training in a round has a name of its own.
    """

    spec: ExpertSpec
    pairs: tuple[Pair, ...]
    training_data: TrainingData
    start: Path | None
    suffix: str = ""


def training_job(
    context: RunContext, spec: ExpertSpec, plan: TrainingPlan, negatives: Negatives, instruction: Instruction
) -> TrainingJob:
    """Return the job that trains an expert on a plan's pairs."""
    return TrainingJob(
        expert=spec,
        train=context.spec.train,
        backbone=context.spec.backbone,
        pairs=plan.pairs,
        negatives=negatives,
        lists=_lists_of(spec, plan),
        instruction=instruction,
        prompts=prompt_prefixes(spec, instruction, context.workspace, context.spec.task),
        start=plan.start,
        seed=context.seed,
        # The best checkpoint is chosen by its score, so training may only see the search half.
        dev=context.search if context.spec.train.evaluate_every else None,
        cache=context.cache,
    )


def _lists_of(spec: ExpertSpec, plan: TrainingPlan) -> Lists:
    """Return a teacher's scores of the plan's pairs, if the expert learns from them."""
    lists = plan.training_data.lists if spec.learns_from_scores else {}
    return {pair.id: lists[pair.id] for pair in plan.pairs if pair.id in lists}


def build_training(context: RunContext, job: TrainingJob) -> Path:
    """Build a training; whenever memory runs out, try again as :func:`lighter` says.

    Raises:
        OutOfMemory: The smallest batch does not fit either.
    """
    while True:
        try:
            return context.build(job)
        except OutOfMemory as error:
            lighter_job, change = lighter(job)
            if lighter_job is None:
                raise
            context.warn("train", f"expert {job.expert.name}: {error}; {change}")
        # Outside of the handler: the error's traceback keeps the model of the failed training alive.
        release_memory()
        job = lighter_job


def lighter(job: TrainingJob) -> tuple[TrainingJob | None, str]:
    """Return the job with less memory, and what was changed; None if nothing is left to change.

    First the same batch is computed in parts (GradCache), which changes no number and takes a third longer. Only then
    do batches become smaller.
    """
    expert, train = job.expert, job.train
    batch = expert.batch_size or train.batch_size
    cached = CACHED.get(expert.loss)
    part = min(train.mini_batch, batch // PARTS)
    if cached and part and not train.gradient_checkpointing and not _has_other_losses(expert):
        changed = expert.model_copy(update={"loss": cached})
        mini_batch = part
        change = f"its batch of {batch} pairs is computed in parts of {part}, which changes no number"
    elif batch // 2 >= SMALLEST_BATCH:
        changed = expert.model_copy(update={"batch_size": batch // 2})
        mini_batch = max(1, train.mini_batch // 2)
        change = f"its batch is halved from {batch} to {batch // 2} pairs"
    else:
        return None, ""
    return replace(job, expert=changed, train=train.model_copy(update={"mini_batch": mini_batch})), change


def _has_other_losses(expert: ExpertSpec) -> bool:
    return bool(expert.alias_weight or expert.teacher_weight or expert.anchor_weight)


def prompt_prefixes(spec: ExpertSpec, instruction: Instruction, workspace: Path, task: str) -> tuple[str, ...]:
    """Return the prefixes from which each query of an expert draws one; empty: all queries have the instruction's."""
    if spec.prompts is None:
        return ()
    pool: Sequence[Instruction] = load_seeds(prompt_path(workspace, spec.prompts), task=task)
    return tuple(instruction.saying(seed.query, seed.origin).query_prefix for seed in pool)
