"""One LoRA expert by sentence-transformers' trainer, checked before it is believed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.domain.material import Pair
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.errors import CheckFailed
from stm_agent.files import write_json
from stm_agent.mine.negatives import Negative
from stm_agent.train.data import Rows, training_rows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Progress = Callable[[int, int, float], None]
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj"]


@dataclass(frozen=True)
class TrainedExpert:
    """What training one expert came to.

    Attributes:
        name: The expert.
        adapter: Folder of the peft adapter.
        steps: Optimiser steps done.
        seconds: Wall time of the steps.
        texts_per_second: Queries, positives and negatives, per second of training.
        losses: Training loss of each step.
        checks: The numbers of the checks that passed.
        skipped: Rows left out and negatives missing, by reason.
    """

    name: str
    adapter: Path
    steps: int
    seconds: float
    texts_per_second: float
    losses: list[float]
    checks: dict[str, float]
    skipped: dict[str, int]


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
    progress: Progress | None = None,
) -> TrainedExpert:
    """Train one adapter into ``folder/adapter`` and describe it in ``folder/expert.json``.

    Args:
        expert: Steps, negatives and overrides.
        pairs: Training pairs of its sources.
        negatives: Pair id -> hard negatives.
        backbone: The decoder.
        train: Options shared by all experts.
        start: Adapter folder to go on from; None starts at the backbone.
        query_prefix: Text in front of every query.
        passage_prefix: Text in front of every passage.
        seed: Seed of the new weights and of the batch order.
        folder: Where to write.
        progress: Called with (step, steps, loss).

    Raises:
        DataError: No usable training pair.
        CheckFailed: NaN loss, a loss that does not fall, vectors that did not change, or a reload that differs.
    """
    import torch

    from stm_agent.backbone.checks import check_reload, check_vectors_changed, vectors
    from stm_agent.backbone.load import load_backbone, network_of

    rows = training_rows(pairs, negatives, expert, query_prefix=query_prefix, passage_prefix=passage_prefix)
    torch.manual_seed(seed)
    model = load_backbone(backbone)
    _add_adapter(model, train, start)
    before = vectors(model)
    began = time.monotonic()
    losses = _fit(model, rows, expert, train, seed, folder, progress)
    seconds = time.monotonic() - began
    if start is None:
        # One that goes on from another expert begins low and meets harder batches.
        _check_losses(expert.name, losses)
    model.eval()
    after = vectors(model)
    checks = {"vectors-changed": check_vectors_changed(before, after)}
    # Only the LoRA of the token embedding, not the embedding itself.
    network_of(model).save_pretrained(folder / "adapter", save_embedding_layers=False)
    fresh = load_backbone(backbone)
    _load_adapter(fresh, folder / "adapter", trainable=False)
    checks["reload"] = check_reload(after, fresh.eval(), folder / "adapter")
    size = expert.batch_size or train.batch_size
    texts = len(losses) * min(size, len(set(rows.groups))) * len(rows.columns)
    done = TrainedExpert(
        expert.name, folder / "adapter", len(losses), seconds, texts / seconds, losses, checks, rows.skipped
    )
    write_json(folder / "expert.json", {**asdict(done), "adapter": "adapter", "rows": len(rows)})
    return done


def _add_adapter(model: SentenceTransformer, train: TrainSpec, start: Path | None) -> None:
    from peft import LoraConfig, get_peft_model

    from stm_agent.backbone.load import network_of

    if start is not None:
        _load_adapter(model, start, trainable=True)
        return
    network = network_of(model)
    names = {name.rsplit(".", 1)[-1] for name, _ in network.named_modules()}
    targets = [name for name in LINEAR if name in names] + (["embed_tokens"] if train.embeddings else [])
    config = LoraConfig(r=train.lora_rank, lora_alpha=train.lora_alpha, lora_dropout=0.0, target_modules=targets)
    model[0].model = get_peft_model(network, config)


def _load_adapter(model: SentenceTransformer, folder: Path, *, trainable: bool) -> None:
    from peft import PeftModel

    from stm_agent.backbone.load import network_of

    model[0].model = PeftModel.from_pretrained(network_of(model), str(folder), is_trainable=trainable)


def _fit(
    model: SentenceTransformer,
    rows: Rows,
    expert: ExpertSpec,
    train: TrainSpec,
    seed: int,
    folder: Path,
    progress: Progress | None,
) -> list[float]:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from transformers import PrinterCallback

    from stm_agent.train.batches import GroupedBatches
    from stm_agent.train.losses import one_forward_loss

    size = expert.batch_size or train.batch_size
    batches = GroupedBatches(
        rows.groups,
        rows.texts(),
        size,
        expert.steps,
        seed,
        neighbours=rows.neighbours,
        joining=expert.neighbours,
        copies=rows.copies,
    )
    on_cpu = model.device.type == "cpu"
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=expert.steps,
        per_device_train_batch_size=size,
        learning_rate=expert.learning_rate or train.learning_rate,
        warmup_steps=math.ceil(train.warmup * expert.steps),
        lr_scheduler_type="linear",
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
        batch_sampler=lambda dataset, **_: batches,  # type: ignore[arg-type]
    )
    watch = _Watch(expert.name, expert.steps, progress)
    # Given examples keep the trainer from drawing its own for a model card nobody writes, with a progress bar.
    model.model_card_data.widget = [{"text": rows.columns["query"][0]}]
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(rows.columns),
        loss=watch.over(one_forward_loss(model, train.scale, expert.alias_weight)),
    )
    # Prints to standard output, which is the report's.
    trainer.remove_callback(PrinterCallback)
    trainer.train()
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


def _check_losses(name: str, losses: Sequence[float]) -> None:
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    if len(losses) >= 20 and last >= first and last > 0.1:
        raise CheckFailed(
            "loss-falls", last, f"expert {name} began at {first:.3g}; lower learning_rate or check its pairs"
        )
