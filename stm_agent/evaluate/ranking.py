"""Exact top-k: a small corpus by one product for each block of queries, a large one block by block of documents."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stm_agent.evaluate.vectors import ArrayVectors, CorpusVectors, as_vectors
from stm_agent.progress import safe_point

BLOCK = 512
"""Queries of a small corpus scored at once, at most."""

SCORES_AT_ONCE = 2**24
"""Scores of a small corpus held at once, at most; with their order they take 16 bytes each, 256 MiB together."""

SMALL = SCORES_AT_ONCE // BLOCK
"""Documents up to which all of them are scored at once; above, :mod:`stm_agent.evaluate.search` takes blocks."""


def rank(
    query_ids: Sequence[str],
    query_vectors: NDArray[np.float32],
    document_ids: Sequence[str],
    document_vectors: NDArray[np.float32] | CorpusVectors,
    k: int = 100,
    block: int = BLOCK,
    ignored_ids: Container[str] = frozenset(),
) -> dict[str, dict[str, float]]:
    """Return the ``k`` nearest documents of each query by dot product.

    Args:
        query_ids: ``[queries]``.
        query_vectors: ``[queries, dimension]`` float32, normalised.
        document_ids: ``[documents]``.
        document_vectors: ``[documents, dimension]`` float32, normalised: an array, or vectors in shards.
        k: Documents kept for each query.
        block: Queries of a small corpus scored at once.
        ignored_ids: Queries whose document of the same id is left out
            (:attr:`~stm_agent.domain.collection.Split.ignored_ids`).

    Raises:
        StopRequested: A stop was asked for between two blocks.
        StorageError: A shard of vectors cannot be read.
    """
    own = {document: column for column, document in enumerate(document_ids) if document in ignored_ids}
    array = document_vectors.array if isinstance(document_vectors, ArrayVectors) else document_vectors
    if isinstance(array, np.ndarray) and len(array) <= SMALL:
        return _rank_at_once(query_ids, query_vectors, document_ids, array, k, block, own)
    return _rank_in_blocks(query_ids, query_vectors, document_ids, as_vectors(array), k, own)


def _rank_at_once(
    query_ids: Sequence[str],
    query_vectors: NDArray[np.float32],
    document_ids: Sequence[str],
    document_vectors: NDArray[np.float32],
    k: int,
    block: int,
    own: Mapping[str, int],
) -> dict[str, dict[str, float]]:
    run: dict[str, dict[str, float]] = {}
    k = min(k, len(document_ids))
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


def _rank_in_blocks(
    query_ids: Sequence[str],
    query_vectors: NDArray[np.float32],
    document_ids: Sequence[str],
    document_vectors: CorpusVectors,
    k: int,
    own: Mapping[str, int],
) -> dict[str, dict[str, float]]:
    from stm_agent.evaluate.search import top_k

    excluded = {row: own[query] for row, query in enumerate(query_ids) if query in own}
    scores, columns = top_k(query_vectors, document_vectors, k, excluded)
    return {
        query: {
            document_ids[column]: score
            for score, column in zip(scores[row].tolist(), columns[row].tolist(), strict=True)
            if column >= 0
        }
        for row, query in enumerate(query_ids)
    }
