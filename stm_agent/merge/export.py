"""Write a merged model as a plain sentence-transformers folder, and read it back before anyone trusts it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import CheckFailed
from stm_agent.files import write_atomic
from stm_agent.merge.delta import Delta, fold

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def export_merged(
    model: SentenceTransformer, delta: Delta | None, folder: Path, *, prompts: dict[str, str], card: str
) -> None:
    """Fold a delta into a fresh backbone and save it; the folder needs nothing of stm-agent.

    Args:
        model: A fresh backbone without adapters.
        delta: What the merge adds; None writes the backbone.
        folder: An empty folder.
        prompts: sentence-transformers prompts, ``query`` and ``document``.
        card: Model card, Markdown.

    Raises:
        CheckFailed: Weights are not finite, or the folder does not give the vectors that were there before saving, or
            gives a text another vector in another batch.
    """
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.checks import check_padding_invariance, check_reload, vectors
    from stm_agent.backbone.network import network_of
    from stm_agent.backbone.packed import PackedTransformer

    if delta is not None:
        fold(network_of(model), delta)
    odd = sum(not bool(weight.isfinite().all()) for weight in network_of(model).parameters())
    if odd:
        raise CheckFailed("finite-weights", odd, "the merge has NaN weights; look at its experts")
    expected = vectors(model)
    if isinstance(model[0], PackedTransformer):
        model[0].unwrap()
    model.prompts = dict(prompts)
    model.save(str(folder), create_model_card=False)
    write_atomic(folder / "README.md", card)
    saved = SentenceTransformer(str(folder), device=str(model.device))
    check_reload(expected, saved, folder)
    check_padding_invariance(saved)
