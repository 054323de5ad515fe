"""From a plan to the training job, the same for ``optimize`` and ``train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.memory_errors import release_memory
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.errors import OutOfMemory
from stm_agent.instruct.seeds import load_seeds
from stm_agent.loop.context import RunContext
from stm_agent.loop.training_data import TrainingData
from stm_agent.mine.lists import Lists
from stm_agent.train.job import Negatives, TrainingJob
from stm_agent.workspace import prompt_path

SMALLEST_BATCH = 2
"""Least number of pairs that a contrastive loss needs."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Data that one expert is trained on.

    Attributes:
        spec: The expert.
        pairs: Its training pairs.
        training_data: Source of its negatives.
        start: Adapter folder from which training starts; None: the backbone.
        suffix: Added to the expert's name, so that a second training in a round has a name of its own.
        domain: The domain on the start that is trained; None: the run's.
    """

    spec: ExpertSpec
    pairs: tuple[Pair, ...]
    training_data: TrainingData
    start: Path | None
    suffix: str = ""
    domain: DomainSpec | None = None

    def domain_in(self, context: RunContext) -> DomainSpec:
        """Return the domain on the start that is trained."""
        return self.domain or context.spec


def training_job(
    context: RunContext, spec: ExpertSpec, plan: TrainingPlan, negatives: Negatives, instruction: Instruction
) -> TrainingJob:
    """Return the job that trains an expert on a plan's pairs."""
    domain = plan.domain_in(context)
    return TrainingJob(
        expert=spec,
        train=domain.train,
        backbone=domain.backbone,
        pairs=plan.pairs,
        negatives=negatives,
        lists=lists_of(spec, plan),
        instruction=instruction,
        prompts=prompt_prefixes(spec, instruction, context.workspace, domain.task),
        start=plan.start,
        seed=context.seed,
        # The best checkpoint is chosen by its score, so training may only see the search half.
        dev=context.search if domain.train.evaluate_every else None,
        cache=context.cache,
    )


def lists_of(spec: ExpertSpec, plan: TrainingPlan) -> Lists:
    """Return a teacher's scores of the plan's pairs, if the expert learns from them."""
    lists = plan.training_data.lists if spec.learns_from_scores else {}
    return {pair.id: lists[pair.id] for pair in plan.pairs if pair.id in lists}


def build_training(context: RunContext, job: TrainingJob) -> Path:
    """Build a training; if memory runs out, try once more with half the batch."""
    batch = job.expert.batch_size or job.train.batch_size
    half = batch // 2
    try:
        return context.build(job)
    except OutOfMemory as error:
        if half < SMALLEST_BATCH:
            raise
        context.warn("train", f"expert {job.expert.name}: {error}; its batch is halved from {batch} to {half} pairs")
    # Outside of the handler: the error's traceback keeps the model of the failed training alive.
    release_memory()
    expert = job.expert.model_copy(update={"batch_size": half})
    mini_batch = max(1, job.train.mini_batch // 2)
    return context.build(replace(job, expert=expert, train=job.train.model_copy(update={"mini_batch": mini_batch})))


def prompt_prefixes(spec: ExpertSpec, instruction: Instruction, workspace: Path, task: str) -> tuple[str, ...]:
    """Return the prefixes from which each query of an expert draws one; empty: all queries have the instruction's."""
    if spec.prompts is None:
        return ()
    pool: Sequence[Instruction] = load_seeds(prompt_path(workspace, spec.prompts), task=task)
    return tuple(instruction.saying(seed.query, seed.origin).query_prefix for seed in pool)
