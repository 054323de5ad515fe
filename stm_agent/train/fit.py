"""The optimiser's part of an expert: planned batches through sentence-transformers' trainer, every loss watched."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.domain.spec import ExpertSpec, TrainSpec
from stm_agent.errors import CheckFailed
from stm_agent.train.batches import GroupedBatches
from stm_agent.train.data import Rows
from stm_agent.train.expert import Progress

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stm_agent.train.teacher import Lesson


def plan_batches(rows: Rows, expert: ExpertSpec, train: TrainSpec, seed: int) -> GroupedBatches:
    """Return the batches an expert is trained on; the same seed gives the same ones."""
    return GroupedBatches(
        rows.groups,
        rows.texts(),
        expert.batch_size or train.batch_size,
        expert.steps,
        seed,
        neighbours=rows.neighbours,
        joining=expert.neighbours,
        copies=rows.copies,
    )


def fit(
    model: SentenceTransformer,
    rows: Rows,
    plan: GroupedBatches,
    expert: ExpertSpec,
    train: TrainSpec,
    *,
    lesson: Lesson | None,
    start: Path | None,
    seed: int,
    folder: Path,
    progress: Progress | None,
) -> list[float]:
    """Train what is trainable in ``model``, in place; return the loss of every step.

    Raises:
        CheckFailed: A loss is not finite.
    """
    from datasets import Dataset
    from safetensors.torch import save_file
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from transformers import PrinterCallback

    from stm_agent.train.losses import one_forward_loss
    from stm_agent.train.teacher import MAP, first_map

    peak = expert.learning_rate or train.learning_rate
    on_cpu = model.device.type == "cpu"
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "trainer"),
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
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=not on_cpu,
        batch_sampler=lambda dataset, **_: plan,  # type: ignore[arg-type]
    )
    watch = _Watch(expert.name, expert.steps, progress)
    # Given examples keep the trainer from drawing its own for a model card nobody writes, with a progress bar.
    model.model_card_data.widget = [{"text": rows.columns["query"][0]}]
    mapping = first_map(model, lesson, start, seed) if lesson else None
    loss = one_forward_loss(
        model,
        train.scale,
        expert.alias_weight,
        lesson=lesson,
        mapping=mapping,
        teacher_weight=expert.teacher_weight,
    )
    numbers = {"label": range(len(rows.columns["query"]))} if lesson else {}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({**rows.columns, **numbers}),
        loss=watch.over(loss),
    )
    # Prints to standard output, which is the report's.
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    if mapping is not None:
        save_file({name: tensor.detach().cpu() for name, tensor in mapping.state_dict().items()}, folder / MAP)
    return watch.losses


class _Watch:
    """Keeps every step's loss, reports progress, and stops at the first NaN."""

    def __init__(self, name: str, steps: int, progress: Progress | None) -> None:
        self.name, self.steps, self.progress = name, steps, progress
        self.losses: list[float] = []

    def over(self, loss: Any) -> Any:  # noqa: ANN401 - a torch module in and out
        def look(module: object, inputs: object, output: Any) -> None:  # noqa: ANN401
            value = float(output.detach())
            self.losses.append(value)
            if not math.isfinite(value):
                raise CheckFailed("loss", value, f"expert {self.name} at step {len(self.losses)}; lower learning_rate")
            if self.progress:
                self.progress(len(self.losses), self.steps, value)

        loss.register_forward_hook(look)
        return loss
