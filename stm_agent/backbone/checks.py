"""Checks that stop with the number that was wrong: the faults that look like bad training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from stm_agent.errors import CheckFailed

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PROBE = ("the cat sat on the mat", "a fever that comes and goes", "one")
TOLERANCE = 1e-4


def check_attention_direction(model: SentenceTransformer, attention: Literal["bidirectional", "causal"]) -> float:
    """Check whether the first token sees the last, as asked; return how far its vector moves.

    Raises:
        CheckFailed: ``attention-direction``, with the movement of the first token's vector.
    """
    import torch

    from stm_agent.backbone.load import network_of

    network, device = network_of(model), model.device
    first = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]], device=device)
    with torch.no_grad():
        vectors = network(input_ids=first, attention_mask=torch.ones_like(first)).last_hidden_state[:, 0].float()
    moved = float((vectors[0] - vectors[1]).abs().max())
    if (moved > TOLERANCE) != (attention == "bidirectional"):
        raise CheckFailed(
            "attention-direction",
            moved,
            f"the model is not {attention}; set attention as it was trained, or upgrade transformers",
        )
    return moved


def check_eos_pooled(model: SentenceTransformer) -> None:
    """Check that the last token of every text is EOS, so that last-token pooling pools it.

    Raises:
        CheckFailed: ``eos-pooled``, with the id of the token that was last.
    """
    tokenizer = model.tokenizer
    for ids in tokenizer(list(PROBE))["input_ids"]:
        if ids[-1] != tokenizer.eos_token_id:
            raise CheckFailed("eos-pooled", ids[-1], "the last pooled token is not EOS; use pooling: mean")


def check_padding_invariance(model: SentenceTransformer) -> float:
    """Check that a text has the same vector alone and beside longer ones; return the largest difference.

    Raises:
        CheckFailed: ``padding-invariance``.
    """
    together = vectors(model, PROBE)
    alone = np.concatenate([vectors(model, [text]) for text in PROBE])
    return _same("padding-invariance", together, alone, "a text's vector depends on its batch; check the padding side")


def check_vectors_changed(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Check that training moved the vectors; return the largest change.

    Raises:
        CheckFailed: ``vectors-changed``.
    """
    moved = float(np.abs(before - after).max())
    if moved < TOLERANCE:
        raise CheckFailed("vectors-changed", moved, "the adapter gives the base model's vectors; it was not applied")
    return moved


def check_reload(expected: NDArray[np.float32], model: SentenceTransformer, folder: Path) -> float:
    """Check that what was read back from ``folder`` gives the vectors that were there before saving.

    Raises:
        CheckFailed: ``reload``.
    """
    return _same(
        "reload", expected, vectors(model, PROBE), f"{folder} does not give the vectors of the model saved in it"
    )


def vectors(model: SentenceTransformer, texts: tuple[str, ...] | list[str] = PROBE) -> NDArray[np.float32]:
    """Return the probe texts' vectors ``[texts, dimension]``, float32."""
    encoded = model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
    return np.asarray(encoded, dtype=np.float32)


def _same(check: str, left: NDArray[np.float32], right: NDArray[np.float32], text: str) -> float:
    difference = float(np.abs(left - right).max())
    if not difference < TOLERANCE:
        raise CheckFailed(check, difference, text)
    return difference
