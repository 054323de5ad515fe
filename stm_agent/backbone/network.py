"""The transformers network inside a sentence-transformers model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.lean import LeanModel


def network_of(model: SentenceTransformer | LeanModel) -> Any:  # noqa: ANN401 - a transformers model, with or without peft
    """Return the decoder (or encoder) inside a sentence-transformers model."""
    return model[0].model
