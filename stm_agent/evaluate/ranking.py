"""Exact top-k by blocks of matrix products; below a million passages no index is faster to build and query."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

from stm_agent.progress import safe_point

BLOCK = 512
"""Queries scored at once, at most."""

SCORES_AT_ONCE = 2**24
"""Scores held at once, at most; with their order they take 16 bytes each, 256 MiB together."""


def rank(
    query_ids: Sequence[str],
    query_vectors: NDArray[np.float32],
    document_ids: Sequence[str],
    document_vectors: NDArray[np.float32],
    k: int = 100,
    block: int = BLOCK,
    ignored_ids: Container[str] = frozenset(),
) -> dict[str, dict[str, float]]:
    """Return the ``k`` nearest documents of each query by dot product.

    Args:
        query_ids: ``[queries]``.
        query_vectors: ``[queries, dimension]`` float32, normalised.
        document_ids: ``[documents]``.
        document_vectors: ``[documents, dimension]`` float32, normalised.
        k: Documents kept for each query.
        block: Queries scored at once, fewer for a large corpus (:data:`SCORES_AT_ONCE`).
        ignored_ids: Queries whose document of the same id is left out
            (:attr:`~stm_agent.domain.collection.Split.ignored_ids`).

    Raises:
        StopRequested: A stop was asked for between two blocks.
    """
    own = {document: column for column, document in enumerate(document_ids) if document in ignored_ids}
    run: dict[str, dict[str, float]] = {}
    k = min(k, len(document_ids))
    block = max(1, min(block, SCORES_AT_ONCE // max(len(document_ids), 1)))
    for begin in range(0, len(query_ids), block):
        safe_point()
        scores = query_vectors[begin : begin + block] @ document_vectors.T
        for row, query in enumerate(query_ids[begin : begin + block]):
            if query in own:
                scores[row, own[query]] = -np.inf
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else None
        for row, query in enumerate(query_ids[begin : begin + block]):
            columns = range(len(document_ids)) if top is None else top[row]
            hits = {document_ids[column]: float(scores[row, column]) for column in columns}
            if query in own:
                hits.pop(query, None)
            run[query] = hits
    return run
