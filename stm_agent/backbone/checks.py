"""Checks for faults that look like bad training; each failure reports the number that was wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.spec import Attention
from stm_agent.errors import BackboneError, CheckFailed

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel

    from stm_agent.backbone.lean import LeanModel

PROBE = ("the cat sat on the mat", "a fever that comes and goes", "one")
"""Texts of different lengths, whose vectors are compared."""
TOLERANCE = 1e-4
"""Largest difference of a unit vector's entries in float32 that counts as rounding."""
LONGEST = 65_536
"""Largest length of a probe text in tokens, for tokenizers without a limit of their own."""


def tolerance(model: SentenceTransformer | LeanModel) -> float:
    """Return the largest difference of unit vectors that counts as rounding: 1e-4, more in half precision."""
    import torch

    dtype = model.dtype
    return TOLERANCE if dtype is None else max(TOLERANCE, 4 * torch.finfo(dtype).eps)


def first_token_moves(network: PreTrainedModel, *, padding: int = 0) -> float:
    """Return how far the first token's vector moves when the last token changes.

    Args:
        network: The network.
        padding: Number of padding tokens after the text.

    Raises:
        BackboneError: The network does not read text or returns no hidden states.
    """
    import torch

    ids = torch.tensor([[5, 6, 7, last] + [0] * padding for last in (8, 9)], device=network.device)
    mask = torch.tensor([[1] * 4 + [0] * padding] * 2, device=network.device)
    try:
        with torch.no_grad():
            vectors = network(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0].float()
    except (AttributeError, TypeError, ValueError) as error:
        name, reason = f"{network.name_or_path} ({network.config.model_type})", " ".join(str(error).split())
        raise BackboneError(f"{name} gives no hidden state for each token ({reason}); name a text model") from error
    return float((vectors[0] - vectors[1]).abs().max())


def check_attention_direction(model: SentenceTransformer, attention: Attention | None = None) -> float:
    """Check the attention direction with and without padding: does the first token see the last?

    Args:
        model: The model.
        attention: The expected direction; None accepts either, if it is the same with and without padding.

    Returns:
        How far the first token's vector moves when the last token changes.

    Raises:
        CheckFailed: ``attention-direction``, with the movement of the first token's vector.
    """
    from stm_agent.backbone.network import network_of

    moves = [first_token_moves(network_of(model), padding=padding) for padding in (0, 1)]
    wanted = attention or ("bidirectional" if moves[0] > TOLERANCE else "causal")
    for moved in moves:
        if (moved > TOLERANCE) != (wanted == "bidirectional"):
            raise CheckFailed(
                "attention-direction",
                moved,
                f"the model is not {wanted}; set attention as it was trained, or upgrade transformers",
            )
    return moves[0]


def check_eos_pooled(model: SentenceTransformer) -> None:
    """Check that every text, even one that is cut, ends with a special token, which last-token pooling needs.

    Raises:
        CheckFailed: ``eos-pooled``, with the id of the token that was last.
    """
    tokenizer = model.tokenizer
    cut = "fever " * min(model.max_seq_length or LONGEST, LONGEST)
    for ids in tokenizer([*PROBE, cut], truncation=True)["input_ids"]:
        if ids[-1] not in tokenizer.all_special_ids:
            raise CheckFailed(
                "eos-pooled",
                ids[-1],
                "the last pooled token is not EOS; set eos: true, or eos: false if it was trained so, or pooling: mean",
            )


def check_padding_invariance(model: SentenceTransformer) -> float:
    """Check that a text has the same vector alone and with longer texts, padded on the left and on the right.

    A model with a table of positions, which are counted from the left edge, is checked only on the side that its
    tokenizer pads.

    Returns:
        The largest difference.

    Raises:
        CheckFailed: ``padding-invariance``.
    """
    tokenizer = model.tokenizer
    own = tokenizer.padding_side
    # The shortest is padded the most.
    shortest = PROBE.index(min(PROBE, key=len))
    alone = vectors(model, [PROBE[shortest]])
    differences = []
    for side in (own,) if _has_position_table(model) else ("right", "left"):
        tokenizer.padding_side = side
        try:
            together = vectors(model, PROBE)[shortest]
        finally:
            tokenizer.padding_side = own
        text = f"a text's vector depends on its batch when padded on the {side}; do not use this model"
        differences.append(_same("padding-invariance", together, alone, text, tolerance(model)))
    return max(differences)


def _has_position_table(model: SentenceTransformer) -> bool:
    import torch

    from stm_agent.backbone.network import network_of

    network = network_of(model)
    positions: int | None = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    tables = [module for module in network.modules() if isinstance(module, torch.nn.Embedding)]
    words = network.get_input_embeddings()
    if not positions:
        return False
    return any(table is not words and table.num_embeddings >= positions for table in tables)


def check_packing(model: SentenceTransformer | LeanModel, *, causal: bool) -> float:
    """Give the model the packed forward if it gives the same vectors as the padded one; return the difference.

    If the check fails, the model keeps its padded forward.

    Raises:
        CheckFailed: ``packing``; the number is infinite if the packed forward does not run at all.
    """
    from stm_agent.backbone.lean import LeanTransformer

    module: Any = model[0]
    texts = _packing_probe(model)
    padded = vectors(model, texts)
    if isinstance(module, LeanTransformer):
        module.wrap(causal=causal)
    else:
        from stm_agent.backbone.packed import PackedTransformer

        PackedTransformer.wrap(module, causal=causal)
    try:
        return _same("packing", vectors(model, texts), padded, "packed is not padded", tolerance(model))
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
        module.unwrap()
        raise CheckFailed("packing", float("inf"), f"the network takes no packed rows ({error})") from error
    except CheckFailed:
        module.unwrap()
        raise


def _packing_probe(model: SentenceTransformer | LeanModel) -> list[str]:
    """Return the probe texts, and a text longer than the sliding window if texts of that length are read."""
    from stm_agent.backbone.network import network_of

    window = getattr(network_of(model).config.get_text_config(), "sliding_window", None)
    longest = model.max_seq_length or LONGEST
    # Twice the window, so that a window with a wrong end is found as well.
    long = ["fever " * min(2 * window + 8, longest)] if window and window < longest else []
    return [*PROBE, *long]


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
    """Check that the model read back from ``folder`` gives the same vectors as before saving.

    Raises:
        CheckFailed: ``reload``.
    """
    text = f"{folder} does not give the vectors of the model saved in it"
    return _same("reload", expected, vectors(model, PROBE), text, tolerance(model))


def vectors(model: SentenceTransformer | LeanModel, texts: tuple[str, ...] | list[str] = PROBE) -> NDArray[np.float32]:
    """Return the probe texts' vectors ``[texts, dimension]``, float32."""
    encoded = model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
    return np.asarray(encoded, dtype=np.float32)


def _same(check: str, left: NDArray[np.float32], right: NDArray[np.float32], text: str, limit: float) -> float:
    difference = float(np.abs(left - right).max())
    if not difference < limit:
        raise CheckFailed(check, difference, text)
    return difference
