"""A linear map on query vectors, as ordinary modules of sentence-transformers behind those of an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor
    from torch.nn import Module

MAP = "map.safetensors"
"""File of a map: ``down`` ``[dimension, rank]`` and ``up`` ``[rank, dimension]``, float32."""


def save_map(down: Tensor, up: Tensor, folder: Path) -> None:
    """Write the map ``q -> q + (q down) up`` into a new folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    save_file({"down": down.detach().contiguous(), "up": up.detach().contiguous()}, folder / MAP)


def with_map(model: SentenceTransformer, folder: Path) -> SentenceTransformer:
    """Return a model that shares the modules of another one, and whose vectors are mapped.

    The map has no bias, so it does not matter whether the vectors that it is given are normalised; what it gives is.
    """
    import torch
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize

    tensors = load_file(folder / MAP)
    size = len(tensors["down"])
    weight = torch.eye(size) + (tensors["down"] @ tensors["up"]).T
    dense = Dense(size, size, bias=False, activation_function=torch.nn.Identity(), init_weight=weight)
    modules: list[Module] = [*model.children(), dense, Normalize()]
    # The constructor gives all modules the number format of the first.
    mapped = SentenceTransformer(modules=modules, device=str(model.device))
    mapped.prompts, mapped.similarity_fn_name = dict(model.prompts), model.similarity_fn_name
    return mapped.eval()
