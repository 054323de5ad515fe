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
        rows = [row for row, query in enumerate(task.queries) if any(g > 0 for g in task.qrels.get(query, {}).values())]
        self._queries = task.query_vectors[:, rows]
        # Only these few are in memory together. A document's vectors lie side by side, as they are summed.
        taken = [as_vectors(vectors).take(columns) for vectors in task.document_vectors]
        self._documents = np.stack(taken, axis=1).transpose(1, 0, 2)
        self._gains = np.zeros((len(rows), len(columns)), dtype=np.float32)
        for number, row in enumerate(rows):
            for document, grade in task.qrels[task.queries[row]].items():
                if document in position:
                    self._gains[number, position[document]] = max(grade, 0)
        self._discounts = 1 / np.log2(np.arange(2, CUT + 2))
        best = -np.sort(-self._gains, axis=1)[:, :CUT]
        self._ideal = best @ self._discounts[: best.shape[1]]
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
                _error_of(self._documents, weights, as_vectors(document_vectors).take(self._columns)),
            )
        )
        self._points.append(point)

    def score(self, weights: Sequence[float]) -> float:
        """Return the estimated nDCG@10 of a weighting, one weight for each expert; the base has the rest of 1."""
        return float(np.mean(self.per_query(weights)))

    def per_query(self, weights: Sequence[float]) -> NDArray[np.float64]:
        """Return the same for each query with a relevant document, ``[queries]``."""
        shares = self._carried(weights)
        queries = mix(self._queries, weights, [(share, error.queries) for share, error in shares])
        scores = queries @ mix(self._documents, weights, [(share, error.documents) for share, error in shares]).T
        cut = min(CUT, scores.shape[1])
        top = np.argpartition(-scores, cut - 1, axis=1)[:, :cut]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        gains = np.take_along_axis(self._gains, np.take_along_axis(top, order, axis=1), axis=1)
        return np.asarray(gains @ self._discounts[:cut] / self._ideal)

    def _carried(self, weights: Sequence[float]) -> list[tuple[float, _Error]]:
        """Return the share of each learnt error at a weighting."""
        if not self._errors:
            return []
        points = np.stack(self._points)
        kernel = _kernel(points, points) + NUGGET * np.eye(len(points))
        shares = np.linalg.solve(kernel, _kernel(points, np.asarray(weights, dtype=np.float64)[None])[:, 0])
        return list(zip(shares[-len(self._errors) :].tolist(), self._errors, strict=True))


def _kernel(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = ((first[:, None] - second[None]) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-squared / (2 * REACH**2)))


def _summed(vectors: NDArray[np.float32], weights: Sequence[float]) -> NDArray[np.float32]:
    shares = np.array([1 - sum(weights), *weights], dtype=np.float32)
    used = [number for number, share in enumerate(shares) if abs(share) > 1e-7]
    return np.asarray(np.einsum("k,knd->nd", shares[used], vectors[used]), dtype=np.float32)


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
