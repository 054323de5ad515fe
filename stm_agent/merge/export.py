"""Write a merged model as a plain sentence-transformers folder, and verify it by reading it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import CheckFailed
from stm_agent.files import write_atomic
from stm_agent.merge.delta import fold
from stm_agent.merge.interface import Delta

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def export_merged(
    model: SentenceTransformer, delta: Delta | None, folder: Path, *, prompts: dict[str, str], card: str
) -> None:
    """Fold a delta into a fresh backbone and save it; loading the folder does not need stm-agent.

    Args:
        model: A fresh backbone without adapters.
        delta: What the merge adds; None writes the backbone alone.
        folder: An empty folder.
        prompts: sentence-transformers prompts, ``query`` and ``document``.
        card: Model card, Markdown.

    Raises:
        CheckFailed: Weights are not finite, the folder gives other vectors than the model had before saving, or a
            text's vector depends on its batch.
    """
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.checks import check_padding_invariance, check_reload, vectors
    from stm_agent.backbone.network import network_of
    from stm_agent.backbone.packed import PackedTransformer

    if delta is not None:
        fold(network_of(model), delta)
    broken = sum(not bool(weight.isfinite().all()) for weight in network_of(model).parameters())
    if broken:
        raise CheckFailed("finite-weights", broken, "the merge has NaN weights; look at its experts")
    expected = vectors(model)
    if isinstance(model[0], PackedTransformer):
        model[0].unwrap()
    model.prompts = dict(prompts)
    model.save(str(folder), create_model_card=False)
    write_atomic(folder / "README.md", card)
    saved = SentenceTransformer(str(folder), device=str(model.device))
    check_reload(expected, saved, folder)
    check_padding_invariance(saved)
