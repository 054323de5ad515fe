"""Fuse a dense and a lexical ranking: a convex combination of min-max normalised scores.

Bruch, Gai and Ingber 2023 (arXiv 2210.11934) find it more accurate than reciprocal rank fusion, and find that a few
judged queries are enough to choose its one weight.
"""

from __future__ import annotations

from collections.abc import Mapping

from stm_agent.evaluate.metrics import Run, Scores, score

FUSION = "fusion.json"
"""File of a run's folder with the weight of BM25 that dev chose."""

WEIGHTS = tuple(step / 20 for step in range(21))
"""Weights of the lexical ranking that :func:`choose_weight` tries."""


def fuse(dense: Run, lexical: Run, weight: float) -> dict[str, dict[str, float]]:
    """Return the fused run: ``(1 - weight)`` times the dense score plus ``weight`` times the lexical one.

    The scores of each query are scaled to [0, 1] in either run; a document that a run lacks gets 0 there.

    Args:
        dense: Cosines of the nearest documents.
        lexical: BM25 scores; a query may be missing.
        weight: Between 0 (dense alone) and 1 (lexical alone).
    """
    return {query: fused_scores(hits, lexical.get(query, {}), weight) for query, hits in dense.items()}


def fused_scores(dense: Mapping[str, float], lexical: Mapping[str, float], weight: float) -> dict[str, float]:
    """Return the fused scores of one query, see :func:`fuse`."""
    near, words = _scaled(dense), _scaled(lexical)
    documents = dict.fromkeys([*near, *words])
    return {
        document: (1 - weight) * near.get(document, 0.0) + weight * words.get(document, 0.0) for document in documents
    }


def choose_weight(dense: Run, lexical: Run, qrels: Mapping[str, Mapping[str, int]]) -> tuple[float, Scores]:
    """Return the weight with the best nDCG@10, and its scores; of equal ones the smallest.

    Args:
        dense: Run of the judged queries.
        lexical: Run of the same queries.
        qrels: Their judgements; never those of the test split.
    """
    scored = [(weight, score(fuse(dense, lexical, weight), qrels)) for weight in WEIGHTS]
    return max(scored, key=lambda row: (row[1].ndcg_at_10, -row[0]))


def _scaled(scores: Mapping[str, float]) -> dict[str, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    width = high - low
    return {document: (value - low) / width if width else 1.0 for document, value in scores.items()}
