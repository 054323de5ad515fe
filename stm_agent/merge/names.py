"""Names of weights as a model has them once it is loaded, and the stored tensors that are no weights of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

PREFIXES = ("model.", "bert.", "roberta.", "distilbert.", "mpnet.", "electra.", "deberta.", "albert.")
"""Prefixes of the bare network's weights in models that were saved with a head; ``AutoModel`` removes them."""
OLD_ENDINGS = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Endings of names in early BERT checkpoints, which transformers renames when it loads them."""
BUFFER = re.compile(
    r"(^|\.)(position_ids|token_type_ids|(original_)?inv_freq|masked_bias|(cos|sin)_cached|num_batches_tracked)$"
)
"""Buffers that older versions of transformers stored and newer ones compute."""
HEAD = re.compile(
    r"^(lm_head|cls|pooler|classifier|score|qa_outputs|vocab_(transform|layer_norm|projector)|"
    r"generator_\w+|discriminator_\w+)\."
)
"""Heads: sentence-transformers pools token vectors, so no vector depends on them."""


def bare_name(stored: str) -> str:
    """Return the name of a stored weight in the bare network."""
    name = next((stored.removeprefix(prefix) for prefix in PREFIXES if stored.startswith(prefix)), stored)
    for old, new in OLD_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def is_buffer(name: str, shape: Sequence[int]) -> bool:
    """Return whether a stored tensor is computed when a model is loaded, such as positions or GPT-2's causal mask."""
    is_causal_mask = name.endswith("attn.bias") and len(shape) == 4 and tuple(shape[:2]) == (1, 1)
    return is_causal_mask or bool(BUFFER.search(name))


def unshared_heads(models: Sequence[Collection[str]]) -> frozenset[str]:
    """Return the heads' weights that some models have and others lack, from the names of each model's weights."""
    everywhere = set(models[0]).intersection(*models[1:])
    return frozenset(name for name in set().union(*models) - everywhere if HEAD.search(name))
