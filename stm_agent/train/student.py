"""The model in training: the backbone with a LoRA adapter, and that adapter on disk."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.precision import MIXED
from stm_agent.domain.spec import BackboneSpec, TrainSpec
from stm_agent.machine import declared_training_gpu

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer


def new_student(backbone: BackboneSpec, train: TrainSpec, start: Path | None) -> SentenceTransformer:
    """Load the backbone with an adapter ready to be trained, on a CPU with fast dropout.

    Args:
        backbone: The model before adaptation.
        train: Rank, alpha and targets of a new adapter; ``qlora`` and ``gradient_checkpointing``.
        start: Adapter folder to continue from; None adds a new adapter.
    """
    from stm_agent.backbone.fused_lora import fuse_lora
    from stm_agent.backbone.network import network_of
    from stm_agent.train.dropout import make_dropout_fast

    model = _load(backbone, train)
    if start is None:
        _add_adapter(model, train)
    else:
        _load_adapter(model, start, trainable=True)
    fuse_lora(network_of(model))
    if model.device.type == "cpu":
        make_dropout_fast(network_of(model))
    if train.gradient_checkpointing:
        network_of(model).activation_checkpointing_enable({"use_reentrant": False})
    return model


def trained_backbone(backbone: BackboneSpec) -> dict[str, object]:
    """Return what of a backbone decides an adapter; a part of the keys of trained adapters.

    How vectors are stored does not.
    """
    return backbone.model_dump(mode="json", exclude={"vectors"})


def training_products(model: SentenceTransformer, backbone: BackboneSpec) -> AbstractContextManager[None]:
    """Return the context in which an adapter is trained: with ``dtype: mixed``, a CPU multiplies in bfloat16."""
    from stm_agent.backbone.fused_lora import mixed_products
    from stm_agent.backbone.network import network_of

    is_mixed = backbone.dtype == MIXED and model.device.type == "cpu"
    return mixed_products(network_of(model)) if is_mixed else nullcontext()


def training_device() -> str:
    """Return the device, with what it changes in a training; a part of the keys of trained adapters."""
    import torch

    declared = declared_training_gpu()
    gpu = torch.cuda.is_available() if declared is None else declared
    return "cuda" if gpu else "cpu, fast dropout"


def save_student(
    model: SentenceTransformer, before: NDArray[np.float32], folder: Path, backbone: BackboneSpec, train: TrainSpec
) -> dict[str, float]:
    """Write ``folder/adapter`` and check it.

    Args:
        model: The trained model.
        before: The probe texts' vectors before training.
        folder: Where to write.
        backbone: The model before adaptation, which is loaded again for the check.
        train: Options of the training.

    Returns:
        The numbers of the checks.

    Raises:
        CheckFailed: Training did not change the vectors, or the adapter read back gives others.
    """
    from stm_agent.backbone.checks import check_reload, check_vectors_changed, vectors
    from stm_agent.backbone.network import network_of

    after = vectors(model.eval())
    changed = check_vectors_changed(before, after)
    # Of the token embedding only the LoRA, not the embedding itself.
    network_of(model).save_pretrained(folder / "adapter", save_embedding_layers=False)
    fresh = _load(backbone, train)
    _load_adapter(fresh, folder / "adapter", trainable=False)
    return {"vectors-changed": changed, "reload": check_reload(after, fresh.eval(), folder / "adapter")}


def _load(backbone: BackboneSpec, train: TrainSpec) -> SentenceTransformer:
    from stm_agent.backbone.load import load_backbone
    from stm_agent.backbone.network import network_of

    model = load_backbone(backbone)
    if train.qlora:
        from stm_agent.backbone.nf4 import hold_in_nf4

        hold_in_nf4(network_of(model))
    return model


def _add_adapter(model: SentenceTransformer, train: TrainSpec) -> None:
    from peft import LoraConfig, get_peft_model

    from stm_agent.backbone.lora import lora_targets
    from stm_agent.backbone.network import network_of

    network = network_of(model)
    targets = lora_targets(network, embeddings=train.embeddings)
    config = LoraConfig(r=train.lora_rank, lora_alpha=train.lora_alpha, lora_dropout=0.0, target_modules=targets)
    model[0].model = get_peft_model(network, config)


def _load_adapter(model: SentenceTransformer, folder: Path, *, trainable: bool) -> None:
    from peft import PeftModel

    from stm_agent.backbone.network import network_of

    model[0].model = PeftModel.from_pretrained(network_of(model), str(folder), is_trainable=trainable)
