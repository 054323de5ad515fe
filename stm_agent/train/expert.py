"""One LoRA expert by sentence-transformers' trainer, checked before it is believed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.errors import CheckFailed, ConfigError
from stm_agent.files import write_json
from stm_agent.mine.negatives import Negative
from stm_agent.train.aids import Helpers, prepare_aids
from stm_agent.train.data import Rows, training_rows
from stm_agent.train.fit import Progress
from stm_agent.train.processes import processes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from stm_agent.train.fit import Fitted


@dataclass(frozen=True)
class TrainedExpert:
    """What training one expert came to.

    Attributes:
        name: The expert.
        adapter: Folder of the peft adapter.
        steps: Optimiser steps done.
        processes: Processes that trained it together; a step has a batch from each.
        seconds: Wall time of this process's steps.
        texts_per_second: Queries, positives and negatives, per second of training.
        losses: Training loss of each step.
        resumed_at: Steps that a checkpoint of an earlier process brought.
        padded_share: Share of the cells in the forwards that held no token.
        best_dev: Best nDCG@10 on dev in training, whose adapter was kept; None: not scored.
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


NOBODY = Helpers()


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
    helpers: Helpers = NOBODY,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> TrainedExpert:
    """Train one adapter into ``folder/adapter`` and describe it in ``folder/expert.json``.

    Args:
        expert: Steps, loss, negatives and overrides.
        pairs: Training pairs of its sources.
        negatives: Pair id -> hard negatives.
        backbone: The decoder.
        train: Options shared by all experts.
        start: Adapter folder to go on from; None starts at the backbone.
        query_prefix: Text in front of every query.
        passage_prefix: Text in front of every passage.
        seed: Seed of the new weights and of the batch order.
        folder: Where to write.
        prompts: Texts of which each query has one in front of it, in place of ``query_prefix``.
        helpers: Teacher, guide and judge, for what asks for them.
        checkpoints: Folder of this very training that survives a kill; None: no checkpoints.
        progress: Called with (step, steps, loss).

    Raises:
        ConfigError: A teacher, guide or judge is asked for and not there.
        DataError: No usable training pair.
        CheckFailed: NaN loss, a loss that does not fall, vectors that did not change, or a reload that differs.
    """
    import torch

    from stm_agent.backbone.checks import vectors
    from stm_agent.backbone.fused_lora import fuse_lora
    from stm_agent.backbone.network import network_of
    from stm_agent.train.fit import fit, plan_batches
    from stm_agent.train.losses import make_loss
    from stm_agent.train.padding import padding_of
    from stm_agent.train.teacher import save_map

    if train.evaluate_every and helpers.judge is None:
        raise ConfigError(f"expert {expert.name} is to be scored in training and has no judge; set evaluate_every: 0")
    prefixes = (tuple(prompts) or (query_prefix,), passage_prefix)
    rows = training_rows(
        pairs, negatives, expert, query_prefix=query_prefix, passage_prefix=passage_prefix, prompts=prompts
    )
    plan = plan_batches(rows, expert, train, seed)
    torch.manual_seed(seed)
    model = _student(backbone, train)
    _add_adapter(model, train, start)
    fuse_lora(network_of(model))
    if train.gradient_checkpointing:
        network_of(model).activation_checkpointing_enable({"use_reentrant": False})
    before = vectors(model)
    aids = prepare_aids(model, expert, rows, plan, helpers, start=start, seed=seed, prefixes=prefixes)
    loss = make_loss(model, expert, train, aids)
    began = time.monotonic()
    with padding_of(model) as padding:
        done = fit(
            loss,
            model,
            rows,
            plan,
            expert,
            train,
            seed=seed,
            folder=checkpoints or folder / "trainer",
            keep=checkpoints is not None,
            judge=helpers.judge if train.evaluate_every else None,
            progress=progress,
        )
    seconds = time.monotonic() - began
    if start is None:
        # One that goes on from another expert begins low and meets harder batches.
        _check_losses(expert, done.losses)
    checks = _save(model, before, folder, backbone, train)
    if aids.mapping is not None:
        save_map(aids.mapping, folder)
    shutil.rmtree(folder / "trainer", ignore_errors=True)
    report = TrainedExpert(
        name=expert.name,
        adapter=folder / "adapter",
        steps=len(done.losses),
        processes=processes().count,
        seconds=seconds,
        texts_per_second=_texts(done, plan.size, rows) / seconds,
        losses=done.losses,
        resumed_at=done.resumed_at,
        padded_share=padding.share,
        best_dev=done.best,
        checks=checks,
        skipped=rows.skipped,
    )
    write_json(folder / "expert.json", {**asdict(report), "adapter": "adapter", "rows": len(rows)})
    return report


def _texts(done: Fitted, size: int, rows: Rows) -> int:
    return (len(done.losses) - done.resumed_at) * size * len(rows.columns) * processes().count


def _save(
    model: SentenceTransformer, before: NDArray[np.float32], folder: Path, backbone: BackboneSpec, train: TrainSpec
) -> dict[str, float]:
    """Save the adapter and check that it changes the vectors, and gives the same ones when it is read back."""
    from stm_agent.backbone.checks import check_reload, check_vectors_changed, vectors
    from stm_agent.backbone.network import network_of

    after = vectors(model.eval())
    changed = check_vectors_changed(before, after)
    # Only the LoRA of the token embedding, not the embedding itself.
    network_of(model).save_pretrained(folder / "adapter", save_embedding_layers=False)
    fresh = _student(backbone, train)
    _load_adapter(fresh, folder / "adapter", trainable=False)
    return {"vectors-changed": changed, "reload": check_reload(after, fresh.eval(), folder / "adapter")}


def _student(backbone: BackboneSpec, train: TrainSpec) -> SentenceTransformer:
    """Load the backbone as experts learn on it."""
    from stm_agent.backbone.load import load_backbone
    from stm_agent.backbone.network import network_of

    model = load_backbone(backbone)
    if train.qlora:
        from stm_agent.backbone.nf4 import hold_in_nf4

        hold_in_nf4(network_of(model))
    return model


def _add_adapter(model: SentenceTransformer, train: TrainSpec, start: Path | None) -> None:
    from peft import LoraConfig, get_peft_model

    from stm_agent.backbone.lora import lora_targets
    from stm_agent.backbone.network import network_of

    if start is not None:
        _load_adapter(model, start, trainable=True)
        return
    network = network_of(model)
    targets = lora_targets(network, embeddings=train.embeddings)
    config = LoraConfig(r=train.lora_rank, lora_alpha=train.lora_alpha, lora_dropout=0.0, target_modules=targets)
    model[0].model = get_peft_model(network, config)


def _load_adapter(model: SentenceTransformer, folder: Path, *, trainable: bool) -> None:
    from peft import PeftModel

    from stm_agent.backbone.network import network_of

    model[0].model = PeftModel.from_pretrained(network_of(model), str(folder), is_trainable=trainable)


def _check_losses(expert: ExpertSpec, losses: Sequence[float]) -> None:
    # What is as low as this has nowhere to fall; squared margins of cosines are small from the start.
    floor = 1e-3 if expert.loss == "margin" else 0.1
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    if len(losses) >= 20 and last >= first and last > floor:
        raise CheckFailed(
            "loss-falls", last, f"expert {expert.name} began at {first:.3g}; lower learning_rate or check its pairs"
        )
