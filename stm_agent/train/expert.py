"""Train one LoRA expert with sentence-transformers' trainer, and check it before it is used."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import mean, pvariance
from typing import TYPE_CHECKING

from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.errors import CheckFailed, ConfigError
from stm_agent.files import write_json
from stm_agent.mine.lists import NO_LISTS, Lists
from stm_agent.mine.negatives import Negative
from stm_agent.train.aids import Helpers, prepare_aids
from stm_agent.train.data import Rows, training_rows
from stm_agent.train.fit import Progress
from stm_agent.train.processes import processes
from stm_agent.train.request import TrainingRequest
from stm_agent.train.steps import within_epochs

if TYPE_CHECKING:
    from stm_agent.train.fit import Fitted

LOW_LOSS = {"margin": 1e-3, "distil": 0.5}
"""Loss below which a training need not lower it further; squared margins of cosines are small from the start, and so is
the distance of a good start from a teacher like it."""
LOW_LOSS_OTHERWISE = 0.1
"""The same for all other losses."""
FEWEST_STEPS = 20
"""Steps below which a loss that does not fall is not taken for a fault."""
COMPARED_STEPS = 8
"""Steps at the beginning and at the end whose mean losses are compared, at least; half of a shorter training."""
MEMORY_FIX = "lower train: batch_size or backbone: max_length, or set train: gradient_checkpointing: true"


@dataclass(frozen=True, kw_only=True)
class TrainedExpert:
    """Result of training one expert.

    Attributes:
        name: The expert.
        adapter: Folder of the peft adapter.
        steps: Optimiser steps done.
        processes: Processes that trained it together; each step has a batch from every process.
        seconds: Wall time of this process's steps.
        texts_per_second: Queries, positives and negatives, per second of training.
        losses: Training loss of each step.
        resumed_at: Steps that came from a checkpoint of an earlier process.
        padded_share: Share of the cells in the forwards that held no token.
        best_dev: Best nDCG@10 on dev during training, whose adapter was kept; None if dev was not scored.
        checks: The numbers of the checks that passed.
        skipped: Rows left out and negatives missing, by reason.
    """

    name: str
    adapter: Path
    steps: int
    processes: int
    seconds: float
    texts_per_second: float
    losses: list[float]
    resumed_at: int
    padded_share: float
    best_dev: float | None
    checks: dict[str, float]
    skipped: dict[str, int]


NO_HELPERS = Helpers()


def train_adapter(
    request: TrainingRequest,
    folder: Path,
    *,
    helpers: Helpers = NO_HELPERS,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> TrainedExpert:
    """Train one adapter into ``folder/adapter`` and describe it in ``folder/expert.json``.

    Args:
        request: What decides the training.
        folder: Where to write.
        helpers: Teacher, guide and judge, for options that need them.
        checkpoints: Folder of this very training that survives a kill; None writes no checkpoints.
        progress: Called with (step, steps, loss).

    Raises:
        ConfigError: A teacher, guide or judge is needed and missing.
        DataError: No training pair is usable.
        CheckFailed: NaN loss, a loss that does not fall, vectors that did not change, or a reload that differs.
        OutOfMemory: The model, its batch or the checks do not fit the memory.
    """
    if request.train.evaluate_every and helpers.judge is None:
        name = request.expert.name
        raise ConfigError(f"expert {name} is to be scored in training and has no judge; set evaluate_every: 0")
    with memory_errors(f"training expert {request.expert.name}", fix=MEMORY_FIX):
        return _train(request, folder, helpers, checkpoints, progress)


def _train(
    request: TrainingRequest, folder: Path, helpers: Helpers, checkpoints: Path | None, progress: Progress | None
) -> TrainedExpert:
    import torch

    from stm_agent.backbone.checks import vectors
    from stm_agent.train.anchor import prepare_anchor
    from stm_agent.train.batch_plan import plan_batches
    from stm_agent.train.fit import fit
    from stm_agent.train.losses import make_loss
    from stm_agent.train.padding import padding_of
    from stm_agent.train.student import new_student, save_student, training_products
    from stm_agent.train.teacher import save_map

    train, seed, rows = request.train, request.seed, _rows_of(request)
    expert = within_epochs(request.expert, train, rows)
    request = replace(request, expert=expert)
    plan = plan_batches(rows, expert, train, seed)
    torch.manual_seed(seed)
    model = new_student(request.backbone, train, request.start)
    before = vectors(model)
    prefixes = (request.query_prefixes, request.passage_prefix)
    aids = prepare_aids(model, expert, rows, plan, helpers, start=request.start, seed=seed, prefixes=prefixes)
    if expert.anchor_weight:
        aids = replace(aids, anchor=prepare_anchor(model, rows, plan, request))
    loss = make_loss(model, expert, train, aids)
    began = time.monotonic()
    with padding_of(model) as padding, training_products(model, request.backbone):
        fitted = fit(
            loss,
            model,
            rows,
            plan,
            request,
            folder=checkpoints or folder / "trainer",
            resumable=checkpoints is not None,
            judge=helpers.judge if train.evaluate_every else None,
            progress=progress,
        )
    seconds = time.monotonic() - began
    if request.start is None:
        # An expert that continues from another one begins with a low loss and meets harder batches.
        _check_losses(expert, fitted.losses)
    checks = save_student(model, before, folder, request.backbone, train)
    if aids.mapping is not None:
        save_map(aids.mapping, folder)
    shutil.rmtree(folder / "trainer", ignore_errors=True)
    batches = (len(fitted.losses) - fitted.resumed_at) * train.accumulate * processes().count
    texts = batches * plan.size * len(rows.columns)
    return _report(request, rows, fitted, folder, seconds=seconds, texts=texts, padded=padding.share, checks=checks)


def _rows_of(request: TrainingRequest) -> Rows:
    return training_rows(
        request.pairs,
        request.negatives,
        request.expert,
        query_prefix=request.query_prefix,
        passage_prefix=request.passage_prefix,
        prompts=request.prompts,
        lists=request.lists,
    )


def _report(
    request: TrainingRequest,
    rows: Rows,
    fitted: Fitted,
    folder: Path,
    *,
    seconds: float,
    texts: int,
    padded: float,
    checks: dict[str, float],
) -> TrainedExpert:
    """Write ``folder/expert.json`` and return what it says."""
    trained = TrainedExpert(
        name=request.expert.name,
        adapter=folder / "adapter",
        steps=len(fitted.losses),
        processes=processes().count,
        seconds=seconds,
        texts_per_second=texts / seconds,
        losses=fitted.losses,
        resumed_at=fitted.resumed_at,
        padded_share=padded,
        best_dev=fitted.best,
        checks=checks,
        skipped=rows.skipped,
    )
    write_json(folder / "expert.json", {**asdict(trained), "adapter": "adapter", "rows": len(rows)})
    return trained


def _check_losses(expert: ExpertSpec, losses: Sequence[float]) -> None:
    low = LOW_LOSS.get(expert.loss, LOW_LOSS_OTHERWISE)
    # The loss of a batch or two says little: of a short training, more of it is compared.
    part = max(1, len(losses) // 10, min(COMPARED_STEPS, len(losses) // 2))
    begin, end = losses[:part], losses[-part:]
    first, last = mean(begin), mean(end)
    # Batches differ: the loss of a start that is good already rises by chance as often as it falls.
    chance = 2 * sqrt((pvariance(begin) + pvariance(end)) / part)
    if len(losses) >= FEWEST_STEPS and last - first >= chance and last > low:
        raise CheckFailed(
            "loss-falls", last, f"expert {expert.name} began at {first:.3g}; lower learning_rate or check its pairs"
        )


def train_expert(
    expert: ExpertSpec,
    pairs: Sequence[Pair],
    negatives: Mapping[str, tuple[Negative, ...]],
    *,
    backbone: BackboneSpec,
    train: TrainSpec,
    start: Path | None,
    query_prefix: str,
    passage_prefix: str,
    seed: int,
    folder: Path,
    prompts: Sequence[str] = (),
    lists: Lists = NO_LISTS,
    helpers: Helpers = NO_HELPERS,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> TrainedExpert:
    """Make a :class:`~stm_agent.train.request.TrainingRequest` of the arguments and call :func:`train_adapter`."""
    request = TrainingRequest(
        expert=expert,
        pairs=pairs,
        negatives=negatives,
        backbone=backbone,
        train=train,
        seed=seed,
        start=start,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        prompts=prompts,
        lists=lists,
    )
    return train_adapter(request, folder, helpers=helpers, checkpoints=checkpoints, progress=progress)
