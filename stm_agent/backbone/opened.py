"""A model that is opened to encode with, by the shortest way there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.embedded import EXPORT
from stm_agent.backbone.encoder import TextEncoder, TwoSidedEncoder
from stm_agent.backbone.precision import has_bfloat16_products
from stm_agent.errors import BackboneError
from stm_agent.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BFLOAT16 = "bfloat16"
"""Number format of an export's matrix products, in its ``stm_agent_export.json``."""


@dataclass(frozen=True)
class OpenedModel:
    """A model in memory.

    Attributes:
        encoder: Encoder of passages; of a model with two sides also of queries.
        prompts: The prompts that the checkpoint brings.
        tokenizer: A fast tokenizer of transformers.
    """

    encoder: TextEncoder
    prompts: Mapping[str, str | None]
    tokenizer: PreTrainedTokenizerBase


def import_for_folders() -> None:
    """Import what :func:`open_model` runs an ordinary folder with."""
    from stm_agent.backbone.lean_load import import_networks

    import_networks()


def open_model(name: str) -> OpenedModel:
    """Load a model by its folder, its ``embedded:`` name or its Hub name.

    An ordinary folder is run by torch and transformers alone, which starts in half the time; anything else, by
    sentence-transformers. The vectors are the same.

    Raises:
        BackboneError: It cannot be loaded.
        ConfigError: The library of its format is not installed.
    """
    from stm_agent.backbone.embedded import INT8, resolve_model

    folder = None if name.startswith(INT8) else Path(resolve_model(name))
    if folder is not None and folder.is_dir():
        from stm_agent.backbone.lean_load import load_lean

        if models := load_lean(folder):
            mixed = _products(folder) == BFLOAT16
            encoders = [TextEncoder(model, mixed=mixed) for model in models]
            encoder = encoders[0] if len(encoders) == 1 else TwoSidedEncoder(*encoders)
            return OpenedModel(encoder, models[0].prompts, models[0].tokenizer)
    from stm_agent.backbone.load import load_model
    from stm_agent.backbone.sides import encoder_of

    model = load_model(name)
    encoder = encoder_of(model)
    if folder is not None and _products(folder) == BFLOAT16:
        for side in {encoder, getattr(encoder, "query_encoder", encoder)}:
            side.mixed = True
    return OpenedModel(encoder, model.prompts, model.tokenizer)


def _products(folder: Path) -> str | None:
    """Return the number format in which an export computes its matrix products; None: that of its weights.

    Raises:
        BackboneError: This CPU has no instructions for it.
    """
    file = folder / EXPORT
    products: str | None = read_json(file).get("products") if file.is_file() else None
    if products == BFLOAT16 and not has_bfloat16_products():
        raise BackboneError(f"{folder} is for CPUs with instructions for bfloat16; serve the model it was made of")
    return products
