"""The optimiser's part of an expert: planned batches through sentence-transformers' trainer, every loss watched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.domain.spec import ExpertSpec, TrainSpec
from stm_agent.errors import CheckFailed, DataError
from stm_agent.train.batches import GroupedBatches, OneSourceBatches
from stm_agent.train.data import Rows
from stm_agent.train.processes import check_agree, processes, share_beside

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
    from torch import nn

DEV = "dev_ndcg_at_10"
"""Name of the score that training is judged by."""

Batches = GroupedBatches | OneSourceBatches
Progress = Callable[[int, int, float], None]
"""Called after every step with the steps done, all steps and the mean loss."""


def plan_batches(rows: Rows, expert: ExpertSpec, train: TrainSpec, seed: int) -> Batches:
    """Return the batches an expert is trained on; the same seed gives the same ones.

    Of several processes each takes its share of them, so that there are that many batches to a step.

    Raises:
        DataError: A source has fewer groups than a batch has rows, and every batch is to be of one source.
    """
    size = expert.batch_size or train.batch_size
    expert = expert.model_copy(update={"steps": expert.steps * processes().count})
    weights = [expert.source_weights.get(source, 1.0) for source in rows.sources]
    if not expert.one_source_batches:
        return _grouped(rows, range(len(rows)), expert, size, seed, weights if expert.source_weights else [])
    parts = []
    for number, source in enumerate(dict.fromkeys(rows.sources)):
        own = [row for row, name in enumerate(rows.sources) if name == source]
        groups = len({rows.groups[row] for row in own})
        if groups < size:
            raise DataError(
                f"expert {expert.name}: source {source} has {groups} groups, a batch of one source needs {size}; "
                f"lower batch_size or drop one_source_batches"
            )
        # Which source comes is drawn by weight, so that within it every row weighs the same.
        parts.append((_all_copies(own, rows), _grouped(rows, own, expert, size, seed + number, []), weights[own[0]]))
    return OneSourceBatches([(own, batches, weight * len(own)) for own, batches, weight in parts], expert.steps, seed)


def _grouped(
    rows: Rows, own: Sequence[int], expert: ExpertSpec, size: int, seed: int, weights: Sequence[float]
) -> GroupedBatches:
    texts = rows.texts()
    place = {row: number for number, row in enumerate(own)}
    return GroupedBatches(
        [rows.groups[row] for row in own],
        [texts[row] for row in own],
        size,
        expert.steps,
        seed,
        neighbours=[[place[near] for near in rows.neighbours[row] if near in place] for row in own]
        if rows.neighbours
        else (),
        joining=expert.neighbours,
        copies=rows.copies,
        weights=weights,
    )


def _all_copies(own: Sequence[int], rows: Rows) -> list[int]:
    return [row + len(rows) * copy for copy in range(rows.copies) for row in own]


def fit(
    loss: nn.Module,
    model: SentenceTransformer,
    rows: Rows,
    plan: Batches,
    expert: ExpertSpec,
    train: TrainSpec,
    *,
    seed: int,
    folder: Path,
    keep: bool,
    judge: Callable[[SentenceTransformer], float] | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Train what is trainable in ``loss``, in place.

    Args:
        loss: Takes a batch's columns and row numbers; holds ``model``.
        model: The model in training.
        rows: Columns and row numbers.
        plan: Batches of rows.
        expert: Steps and learning rate.
        train: Options shared by all experts.
        seed: Seed of the trainer.
        folder: Where checkpoints are; one that is whole is gone on from.
        keep: Write checkpoints.
        judge: Scores the model on dev (higher is better) every ``train.evaluate_every`` steps; None: never.
        progress: Called with (step, steps, loss).

    Raises:
        CheckFailed: A loss is not finite; the last good checkpoint stays.
    """
    from datasets import Dataset
    from transformers import EarlyStoppingCallback, PrinterCallback

    from stm_agent.train.checkpoint import ExpertTrainer, newest_checkpoint

    # Given examples keep the trainer from drawing its own for a model card nobody writes, with a progress bar.
    model.model_card_data.widget = [{"text": rows.columns["query"][0]}]
    going_on = newest_checkpoint(folder) if keep else None
    stopper = EarlyStoppingCallback(train.patience) if judge and train.patience else None
    watch = _Watch(expert.name, expert.steps, progress, going_on[1] if going_on else [])
    trainer = ExpertTrainer(
        model=model,
        args=_arguments(model, plan, expert, train, seed, folder, keep=keep, judged=judge is not None),
        train_dataset=Dataset.from_dict({**rows.columns, "label": range(len(rows.columns["query"]))}),
        loss=watch.over(loss),
        evaluator=_evaluator(judge) if judge else None,
        callbacks=[stopper] if stopper else [],
    )
    trainer.told = lambda: watch.losses
    share_beside(loss, model)
    # Prints to standard output, which is the report's.
    trainer.remove_callback(PrinterCallback)
    if going_on and stopper and trainer.stopped_early(going_on[0], stopper):
        return Fitted(watch.losses, len(watch.losses), trainer.state.best_metric)
    trainer.train(resume_from_checkpoint=str(going_on[0]) if going_on else None)
    check_agree(loss)
    return Fitted(watch.losses, len(going_on[1]) if going_on else 0, trainer.state.best_metric)


@dataclass(frozen=True)
class Fitted:
    """What the optimiser came to.

    Attributes:
        losses: Training loss of each step, those of earlier processes included.
        resumed_at: Steps that a checkpoint brought.
        best: Best score on dev in training; None: not scored.
    """

    losses: list[float]
    resumed_at: int
    best: float | None


def _arguments(
    model: SentenceTransformer,
    plan: Batches,
    expert: ExpertSpec,
    train: TrainSpec,
    seed: int,
    folder: Path,
    *,
    keep: bool,
    judged: bool,
) -> SentenceTransformerTrainingArguments:
    from sentence_transformers import SentenceTransformerTrainingArguments

    peak = expert.learning_rate or train.learning_rate
    on_cpu = model.device.type == "cpu"
    every = train.evaluate_every if judged else 0
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=expert.steps,
        per_device_train_batch_size=plan.size,
        learning_rate=peak,
        warmup_steps=math.ceil(train.warmup * expert.steps),
        # Of power 1: a straight line from the peak down.
        lr_scheduler_type="polynomial",
        lr_scheduler_kwargs={"lr_end": peak * expert.final_rate, "power": 1.0},
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=seed,
        use_cpu=on_cpu,
        bf16=not on_cpu,
        # The best adapter can only be kept where it is saved: with scores, both happen at the same steps.
        save_strategy="steps" if every or (keep and train.checkpoint_every) else "no",
        save_steps=every or train.checkpoint_every or 1,
        save_total_limit=2,
        eval_strategy="steps" if every else "no",
        eval_steps=every or None,
        load_best_model_at_end=bool(every),
        metric_for_best_model=f"eval_{DEV}" if every else None,
        greater_is_better=True,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=not on_cpu,
        batch_sampler=lambda dataset, **_: plan,  # type: ignore[arg-type]
    )


def _evaluator(judge: Callable[[SentenceTransformer], float]) -> Any:  # noqa: ANN401 - a sentence-transformers type
    from sentence_transformers.base.evaluation import BaseEvaluator

    class OnDev(BaseEvaluator):
        primary_metric = DEV

        def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:  # noqa: ANN401 - as the parent
            return {DEV: judge(model)}

    evaluator: Any = OnDev
    return evaluator()


class _Watch:
    """Keeps every step's loss, reports progress, and stops at the first NaN."""

    def __init__(self, name: str, steps: int, progress: Progress | None, losses: Sequence[float]) -> None:
        self.name, self.steps, self.progress = name, steps, progress
        self.losses = list(losses)

    def over(self, loss: nn.Module) -> nn.Module:
        def look(module: nn.Module, inputs: object, output: Any) -> None:  # noqa: ANN401 - a scalar tensor
            value = float(output.detach())
            self.losses.append(value)
            if not math.isfinite(value):
                raise CheckFailed("loss", value, f"expert {self.name} at step {len(self.losses)}; lower learning_rate")
            if self.progress:
                self.progress(len(self.losses), self.steps, value)

        loss.register_forward_hook(look)
        return loss
