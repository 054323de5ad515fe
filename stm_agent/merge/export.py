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

    expected = vectors(_folded(model, delta))
    _save(_unpacked(model), folder, prompts, card)
    saved = SentenceTransformer(str(folder), device=str(model.device))
    check_reload(expected, saved, folder)
    check_padding_invariance(saved)


Side = tuple["SentenceTransformer", "Delta | None"]
"""A fresh backbone, and what a merge adds to it."""


def export_sides(documents: Side, queries: Side, folder: Path, *, prompts: dict[str, str], card: str) -> None:
    """Save a model whose queries are encoded by other weights than its passages, as a plain folder.

    Args:
        documents: Backbone and delta of the side of passages.
        queries: The same of queries.
        folder: An empty folder.
        prompts: sentence-transformers prompts, ``query`` and ``document``.
        card: Model card, Markdown.

    Raises:
        CheckFailed: Weights are not finite, or a side gives other vectors from the folder than before saving.
    """
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.checks import check_reload, vectors
    from stm_agent.backbone.sides import join_sides, split_sides

    sides = [_folded(*side) for side in (documents, queries)]
    expected = [vectors(side) for side in sides]
    _save(join_sides(*(_unpacked(side) for side in sides)), folder, prompts, card)
    saved = split_sides(SentenceTransformer(str(folder), device=str(sides[0].device)))
    if saved is None:
        raise CheckFailed("reload", 1.0, f"{folder} was saved with two sides and read back with one; do not use it")
    for before, side in zip(expected, saved, strict=True):
        check_reload(before, side, folder)


def _folded(model: SentenceTransformer, delta: Delta | None) -> SentenceTransformer:
    """Fold a delta into a model, in place, and check that its weights are finite."""
    from stm_agent.backbone.network import network_of

    if delta is not None:
        fold(network_of(model), delta)
    broken = sum(not bool(weight.isfinite().all()) for weight in network_of(model).parameters())
    if broken:
        raise CheckFailed("finite-weights", broken, "the merge has NaN weights; look at its experts")
    return model


def _unpacked(model: SentenceTransformer) -> SentenceTransformer:
    from stm_agent.backbone.packed import PackedTransformer

    if isinstance(model[0], PackedTransformer):
        model[0].unwrap()
    return model


def _save(model: SentenceTransformer, folder: Path, prompts: dict[str, str], card: str) -> None:
    model.prompts = dict(prompts)
    model.save(str(folder), create_model_card=False)
    write_atomic(folder / "README.md", card)
