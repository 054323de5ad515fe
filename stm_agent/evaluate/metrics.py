"""nDCG@10, Recall@100 and MRR@10 with trec_eval's rules: linear gains, ties broken by document id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stm_agent.errors import DataError

Run = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> score."""

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade; above 0 is relevant."""

CUT, DEPTH = 10, 100
"""Ranks that nDCG and MRR count, and ranks that recall counts."""


@dataclass(frozen=True)
class Scores:
    """Scores of one run on one split.

    Attributes:
        ndcg_at_10: Mean over the judged queries.
        recall_at_100: Mean over the judged queries.
        mrr_at_10: Mean over the judged queries.
        per_query: nDCG@10 of each judged query.
    """

    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float
    per_query: Mapping[str, float]


def score(run: Run, qrels: Qrels) -> Scores:
    """Score a run; a judged query that is missing in the run counts as 0.

    Raises:
        DataError: No query has a relevant document.
    """
    judged = {query: grades for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    if not judged:
        raise DataError("no query has a relevant document; add judgements with a score above 0")
    rows = {query: _score_query(run.get(query, {}), grades) for query, grades in judged.items()}
    count = len(rows)
    ndcg, recall, mrr = (sum(row[index] for row in rows.values()) / count for index in range(3))
    return Scores(ndcg, recall, mrr, {query: row[0] for query, row in rows.items()})


def _score_query(ranking: Mapping[str, float], grades: Mapping[str, int]) -> tuple[float, float, float]:
    # trec_eval sorts by score, then by document id, both descending.
    ranked = sorted(ranking, key=lambda document: (ranking[document], document), reverse=True)
    gains = [max(grades.get(document, 0), 0) for document in ranked[:CUT]]
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    hits = sum(grades.get(document, 0) > 0 for document in ranked[:DEPTH])
    first = next((position for position, gain in enumerate(gains, 1) if gain > 0), None)
    return _dcg(gains) / _dcg(best[:CUT]), hits / len(best), 1 / first if first else 0.0


def _dcg(gains: list[int]) -> float:
    return sum(gain / math.log2(position + 1) for position, gain in enumerate(gains, 1))
