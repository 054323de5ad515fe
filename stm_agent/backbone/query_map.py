"""A residual map on query vectors, ``q' = normalise(q + W q)``, as numbers and as modules of a model.

The modules are sentence-transformers' own: a ``Router`` whose query route has a residual ``Dense``. ``encode_query``
applies the map; ``encode_document`` and ``encode`` do not, so an index that was built without the map stays valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Matrix = NDArray[np.float32]


def mapped(vectors: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
    """Return ``vectors + vectors W^T``, L2-normalised.

    Args:
        vectors: ``[queries, dimension]`` float32.
        matrix: W, ``[dimension, dimension]`` float32.
    """
    moved = vectors + vectors @ matrix.T
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.maximum(lengths, 1e-12), dtype=np.float32)


def add_query_map(model: SentenceTransformer, matrix: Matrix) -> None:
    """Append the modules that apply a map to queries only, in place.

    Args:
        model: A model without such a map.
        matrix: W, ``[dimension, dimension]`` float32.

    Raises:
        BackboneError: The model has another dimension, or a map already.
    """
    import torch
    from sentence_transformers.base.modules import Dense, Normalize, Router

    dimension = model.get_embedding_dimension()
    if matrix.shape != (dimension, dimension):
        raise BackboneError(f"the query map is for {matrix.shape[0]} dimensions, the model has {dimension}")
    if query_map_of(model) is not None:
        raise BackboneError("the model has a query map already; add the map to the model without it")
    if not isinstance(model[len(model) - 1], Normalize):
        model.append(Normalize())
    weight = torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
    dense = Dense(len(matrix), len(matrix), bias=False, activation_function=None, init_weight=weight, use_residual=True)
    router = Router({"document": [Normalize()], "query": [dense, Normalize()]}, default_route="document")
    model.append(router.to(model.device))


def query_map_of(model: SentenceTransformer) -> Matrix | None:
    """Return the map W that :func:`add_query_map` added to a model; None: there is none."""
    from sentence_transformers.base.modules import Dense, Router

    last = model[len(model) - 1]
    if not isinstance(last, Router) or "query" not in last.sub_modules:
        return None
    route: Any = last.sub_modules["query"]
    first = route[0]
    if not isinstance(first, Dense) or not first.use_residual:
        return None
    weight: Matrix = first.linear.weight.detach().float().cpu().numpy()
    return weight
