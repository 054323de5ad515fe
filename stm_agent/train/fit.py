"""The optimiser's part of a training: planned batches go through sentence-transformers' trainer; losses are checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.errors import CheckFailed
from stm_agent.progress import safe_point
from stm_agent.train.batch_plan import Batches
from stm_agent.train.data import Rows
from stm_agent.train.processes import check_agree, mean_over_processes, share_beside
from stm_agent.train.request import TrainingRequest
from stm_agent.train.steps import warmup_steps

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.evaluation import BaseEvaluator
    from torch import Tensor, nn
    from transformers import TrainerCallback

    from stm_agent.train.checkpoint import ExpertTrainer

DEV = "dev_ndcg_at_10"
"""Name of the score by which the best adapter is chosen."""

Progress = Callable[[int, int, float], None]
"""Called after every step with the steps done, all steps and the mean loss."""


@dataclass(frozen=True)
class Fitted:
    """Result of the optimiser.

    Attributes:
        losses: Training loss of each step, including those of earlier processes.
        resumed_at: Steps that came from a checkpoint.
        best: Best score on dev during training; None if it was not scored.
    """

    losses: list[float]
    resumed_at: int
    best: float | None


def fit(
    loss: nn.Module,
    model: SentenceTransformer,
    rows: Rows,
    plan: Batches,
    request: TrainingRequest,
    *,
    folder: Path,
    resumable: bool,
    judge: Callable[[SentenceTransformer], float] | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Train the trainable weights of ``loss``, in place.

    Args:
        loss: Takes a batch's columns and row numbers; holds ``model``.
        model: The model in training.
        rows: Columns and row numbers.
        plan: Batches of rows.
        request: Steps, learning rates and seed.
        folder: Where checkpoints are written.
        resumable: Write checkpoints, and continue from the newest whole one in ``folder``.
        judge: Scores the model on dev (higher is better) every ``train.evaluate_every`` steps; None: never.
        progress: Called with (step, steps, loss).

    Raises:
        CheckFailed: A loss is not finite; the last good checkpoint stays.
        StopRequested: A stop was asked for; the checkpoint of the last step stays.
    """
    from transformers import EarlyStoppingCallback, PrinterCallback

    from stm_agent.train.checkpoint import StopAtStep, newest_checkpoint

    expert, train = request.expert, request.train
    checkpoint, losses = (newest_checkpoint(folder) if resumable else None) or (None, [])
    stopper = EarlyStoppingCallback(train.patience) if judge and train.patience else None
    watch = _Watch(expert.name, expert.steps, progress, losses, train.accumulate)
    arguments = _arguments(model, plan, request, folder, resumable=resumable, judged=judge is not None)
    callbacks = [StopAtStep(resumable=resumable), *([stopper] if stopper else [])]
    trainer = _trainer(model, arguments, rows, watch.over(loss), judge, callbacks)
    trainer.losses_so_far = lambda: watch.losses
    share_beside(loss, model)
    # It prints to standard output, which is the report's.
    trainer.remove_callback(PrinterCallback)
    if checkpoint and stopper and trainer.stopped_early(checkpoint, stopper):
        return Fitted(watch.losses, len(watch.losses), trainer.state.best_metric)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    safe_point()
    check_agree(loss)
    return Fitted(watch.losses, len(losses), trainer.state.best_metric)


def _trainer(
    model: SentenceTransformer,
    arguments: SentenceTransformerTrainingArguments,
    rows: Rows,
    loss: nn.Module,
    judge: Callable[[SentenceTransformer], float] | None,
    callbacks: list[TrainerCallback],
) -> ExpertTrainer:
    from datasets import Dataset

    from stm_agent.train.checkpoint import ExpertTrainer

    # Without an example the trainer draws its own for a model card that is never written, with a progress bar.
    model.model_card_data.widget = [{"text": rows.columns["query"][0]}]
    return ExpertTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({**rows.columns, "label": range(len(rows.columns["query"]))}),
        loss=loss,
        evaluator=_evaluator(judge) if judge else None,
        callbacks=callbacks,
    )


def _arguments(
    model: SentenceTransformer,
    plan: Batches,
    request: TrainingRequest,
    folder: Path,
    *,
    resumable: bool,
    judged: bool,
) -> SentenceTransformerTrainingArguments:
    from sentence_transformers import SentenceTransformerTrainingArguments

    expert, train = request.expert, request.train
    peak = expert.learning_rate or train.learning_rate
    on_cpu = model.device.type == "cpu"
    every = train.evaluate_every if judged else 0
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=expert.steps,
        per_device_train_batch_size=plan.size,
        gradient_accumulation_steps=train.accumulate,
        learning_rate=peak,
        warmup_steps=warmup_steps(train, expert.steps),
        # With power 1 the rate falls from its peak in a straight line.
        lr_scheduler_type="polynomial",
        lr_scheduler_kwargs={"lr_end": peak * expert.final_rate, "power": 1.0},
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=request.seed,
        use_cpu=on_cpu,
        bf16=not on_cpu,
        # The best adapter can only be restored if it was saved, so scores and checkpoints have the same steps.
        save_strategy="steps" if every or (resumable and train.checkpoint_every) else "no",
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


def _evaluator(judge: Callable[[SentenceTransformer], float]) -> BaseEvaluator:
    from sentence_transformers.base.evaluation import BaseEvaluator

    class OnDev(BaseEvaluator):
        primary_metric = DEV

        def __call__(self, model: Any, *_: object, **__: object) -> dict[str, float]:  # noqa: ANN401 - as the parent
            return {DEV: judge(model)}

    # The parent's constructor is not annotated.
    make: Callable[[], BaseEvaluator] = OnDev
    return make()


class _Watch:
    """Records every step's loss, reports progress, and stops at the first loss that is not finite.

    A step's loss is the mean over its batches, those of the other processes included.
    """

    def __init__(
        self, name: str, steps: int, progress: Progress | None, losses: Sequence[float], accumulate: int
    ) -> None:
        self.name, self.steps, self.progress, self.accumulate = name, steps, progress, accumulate
        self.losses = list(losses)
        self._batches: list[float] = []

    def over(self, loss: nn.Module) -> nn.Module:
        def record(module: nn.Module, inputs: object, output: Tensor) -> None:
            self._batches.append(float(output.detach()))
            if len(self._batches) < self.accumulate:
                return
            value = mean_over_processes(sum(self._batches) / self.accumulate)
            self._batches.clear()
            self.losses.append(value)
            if not math.isfinite(value):
                raise CheckFailed("loss", value, f"expert {self.name} at step {len(self.losses)}; lower learning_rate")
            if self.progress:
                self.progress(len(self.losses), self.steps, value)

        loss.register_forward_hook(record)
        return loss
