"""A merge's nDCG@10, estimated from the cached vectors of base and experts by matrix products alone.

First order: the vector of a merged model is estimated as the normalised ``e0 + sum_i w_i (e_i - e0)`` of the vectors of
the base and the experts. Nothing is encoded, so thousands of weightings cost as much as one real encode.

Between experts that were trained independently the estimate has an error. Every merge that was really encoded shows
this error for each text. Gaussian-process regression on the weights (kriging) carries it to other weightings, with
error 0 at the base and at each expert. Two or three real merges correct the estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stm_agent.evaluate.metrics import CUT, Qrels
from stm_agent.evaluate.ranking import rank
from stm_agent.evaluate.vectors import CorpusVectors, as_vectors

POOL = 30
"""Number of documents at the top of each expert's ranking that can enter a merge's first ten."""
REACH = 0.6
"""Length scale of the Gaussian kernel, as a distance of weights."""
DISCOUNTS = 1 / np.log2(np.arange(2, CUT + 2))
"""Weight of a gain at each of the first ranks."""
NUGGET = 1e-4
"""Added to the kernel's diagonal, so that similar weightings do not make it singular."""


@dataclass(frozen=True)
class _Error:
    """Error of the first order at one weighting, ``[texts, dimension]`` each, before normalisation."""

    queries: NDArray[np.float32]
    documents: NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """Cached vectors of base and experts for one dev task.

    Attributes:
        queries: Query ids.
        documents: Document ids.
        qrels: Judgements.
        query_vectors: ``[1 + experts, queries, dimension]`` float32; the base first.
        document_vectors: Vectors of the documents by base and experts, in memory or in shards; an array
            ``[1 + experts, documents, dimension]`` float32 is a sequence of them.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    qrels: Qrels
    query_vectors: NDArray[np.float32]
    document_vectors: Sequence[NDArray[np.float32] | CorpusVectors] | NDArray[np.float32]


class Surrogate:
    """Scores weightings on one task."""

    def __init__(self, task: Task) -> None:
        """Prepare a task; only documents that are judged, or near the top of any expert's ranking, are scored."""
        columns = _pooled(task)
        position = {task.documents[column]: number for number, column in enumerate(columns)}
        relevant = [
            {document: grade for document, grade in task.qrels.get(query, {}).items() if grade > 0}
            for query in task.queries
        ]
        rows = [row for row, graded in enumerate(relevant) if graded]
        self._queries = task.query_vectors[:, rows]
        # Only these few are in memory together.
        taken = [as_vectors(vectors).take(columns) for vectors in task.document_vectors]
        # Models that differ in their queries alone have one set of them.
        same = all(np.array_equal(vectors, taken[0]) for vectors in taken[1:])
        self._documents = mix(taken[0][None], ())[None] if same else np.stack(taken)
        grades = [relevant[row] for row in rows]
        found = [[(position[name], grade) for name, grade in row.items() if name in position] for row in grades]
        self._relevant, self._gains = _by_place(found)
        best = [sorted(row.values(), reverse=True)[:CUT] for row in grades]
        self._ideal = np.array([DISCOUNTS[: len(row)] @ row for row in best])
        self._rows, self._columns = rows, columns
        experts = len(task.query_vectors) - 1
        # The vectors of base and experts are exact, so their error is 0.
        self._points = [np.zeros(experts), *np.eye(experts)]
        self._errors: list[_Error] = []

    def learn(
        self,
        weights: Sequence[float],
        query_vectors: NDArray[np.float32],
        document_vectors: NDArray[np.float32] | CorpusVectors,
    ) -> None:
        """Learn from a merge that was really encoded.

        Args:
            weights: One for each expert.
            query_vectors: ``[queries, dimension]`` of the task.
            document_vectors: Vectors of the documents of the task.
        """
        point = np.asarray(weights, dtype=np.float64)
        if any(np.allclose(point, other) for other in self._points):
            return
        self._errors.append(
            _Error(
                _error_of(self._queries, weights, query_vectors[self._rows]),
                self._error_of_documents(weights, document_vectors),
            )
        )
        self._points.append(point)

    def _error_of_documents(
        self, weights: Sequence[float], real: NDArray[np.float32] | CorpusVectors
    ) -> NDArray[np.float32]:
        if len(self._documents) == 1:
            return np.zeros((0, 0), dtype=np.float32)
        return _error_of(self._documents, weights, as_vectors(real).take(self._columns))

    def score(self, weights: Sequence[float]) -> float:
        """Return the estimated nDCG@10 of a weighting, one weight for each expert; the base has the rest of 1."""
        return float(np.mean(self.per_query(weights)))

    def per_query(self, weights: Sequence[float]) -> NDArray[np.float64]:
        """Return the same for each query with a relevant document, ``[queries]``."""
        shares = self._carried(weights)
        queries = mix(self._queries, weights, [(share, error.queries) for share, error in shares])
        documents = self._documents[0]
        if len(self._documents) > 1:
            documents = mix(self._documents, weights, [(share, error.documents) for share, error in shares])
        scores = queries @ documents.T
        found = np.zeros(len(scores))
        # The rank of each relevant document is a count; to order all documents takes several times as long.
        for columns, gains in zip(self._relevant, self._gains, strict=True):
            own = np.take_along_axis(scores, columns[:, None], axis=1)
            ranks = np.count_nonzero(scores > own, axis=1)
            found += np.where(ranks < CUT, gains * DISCOUNTS[np.minimum(ranks, CUT - 1)], 0.0)
        return np.asarray(found / self._ideal)

    def _carried(self, weights: Sequence[float]) -> list[tuple[float, _Error]]:
        """Return the share of each learnt error at a weighting."""
        if not self._errors:
            return []
        points = np.stack(self._points)
        kernel = _kernel(points, points) + NUGGET * np.eye(len(points))
        shares = np.linalg.solve(kernel, _kernel(points, np.asarray(weights, dtype=np.float64)[None])[:, 0])
        return list(zip(shares[-len(self._errors) :].tolist(), self._errors, strict=True))


def _by_place(found: Sequence[Sequence[tuple[int, int]]]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the column of each query's first, second ... relevant document and its gain, ``[places, queries]`` each.

    A query that has fewer of them than another has gains of 0 at the rest.
    """
    columns = np.zeros((max(map(len, found), default=0), len(found)), dtype=np.intp)
    gains = np.zeros(columns.shape)
    for query, entries in enumerate(found):
        for place, (column, grade) in enumerate(entries):
            columns[place, query], gains[place, query] = column, grade
    return columns, gains


def _kernel(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = ((first[:, None] - second[None]) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-squared / (2 * REACH**2)))


def _summed(vectors: NDArray[np.float32], weights: Sequence[float]) -> NDArray[np.float32]:
    shares = np.array([1 - sum(weights), *weights], dtype=np.float32)
    return np.asarray(np.tensordot(shares, vectors, axes=1), dtype=np.float32)


def _error_of(vectors: NDArray[np.float32], weights: Sequence[float], real: NDArray[np.float32]) -> NDArray[np.float32]:
    estimate = _summed(vectors, weights)
    return np.asarray(real * np.linalg.norm(estimate, axis=-1, keepdims=True) - estimate, dtype=np.float32)


def mix(
    vectors: NDArray[np.float32],
    weights: Sequence[float],
    errors: Sequence[tuple[float, NDArray[np.float32]]] = (),
) -> NDArray[np.float32]:
    """Return the normalised weighted sum of ``[1 + experts, texts, dimension]``; the base's weight is the rest of 1.

    ``errors`` are added to the sum, each with its share.
    """
    mixed = _summed(vectors, weights)
    for share, error in errors:
        mixed = mixed + np.float32(share) * error
    return np.asarray(mixed / np.maximum(np.linalg.norm(mixed, axis=-1, keepdims=True), 1e-9), dtype=np.float32)


def _pooled(task: Task) -> list[int]:
    """Return the columns of the documents that are judged, or near the top of any expert."""
    pooled: set[str] = {document for grades in task.qrels.values() for document in grades}
    for queries, documents in zip(task.query_vectors[1:], list(task.document_vectors)[1:], strict=True):
        run = rank(task.queries, queries, task.documents, documents, k=POOL)
        pooled.update(*(hits.keys() for hits in run.values()))
    return [column for column, document in enumerate(task.documents) if document in pooled]
