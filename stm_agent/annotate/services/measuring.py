"""nDCG@10 of a run on what is judged, as ``stm-agent evaluate`` counts it, and what holes do to it."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import TypedDict

from stm_agent.annotate.services.outcome import Graded
from stm_agent.evaluate.metrics import Run, score

SCORED = 10
"""How deep nDCG looks."""


class Measures(TypedDict):
    """What :func:`measure` returns."""

    ndcg_at_10: float | None
    ndcg_at_10_holes_best: float | None
    ndcg_at_10_ranked: float | None
    splits: dict[str, float | None]
    scored_queries: int
    unranked: int


def measure(run: Run, told: Graded, best: int) -> Measures:
    """Return nDCG@10 of a run over the queries with a passage judged relevant.

    Holes are passages among a run's first ten that nobody judged. Their grades change what the run gains and also the
    ideal ranking that it is divided by, so nDCG@10 with holes is not a lower bound; it may rise or fall when they are
    judged.

    Args:
        run: Query -> document -> score.
        told: The project's outcome.
        best: The highest grade of the project.

    Returns:
        ``ndcg_at_10``, with every hole graded 0 and queries that the run does not rank counted as 0, as
        ``stm-agent evaluate`` does; ``ndcg_at_10_holes_best``, with every hole graded ``best``; ``ndcg_at_10_ranked``,
        over the queries that the run ranks; ``splits``, ``ndcg_at_10`` by split; ``scored_queries`` and ``unranked``
        of them, as numbers. The measures are None if no query can be scored.
    """
    qrels = {query: grades for query, grades in told.grades.items() if any(grade > 0 for grade in grades.values())}
    ranked = {query: grades for query, grades in qrels.items() if run.get(query)}
    filled = {query: {**dict.fromkeys(_first(run.get(query, {})), best), **grades} for query, grades in qrels.items()}
    splits = dict.fromkeys(told.splits[query] for query in qrels)
    return {
        "ndcg_at_10": _ndcg(run, qrels),
        "ndcg_at_10_holes_best": _ndcg(run, filled),
        "ndcg_at_10_ranked": _ndcg(run, ranked),
        "splits": {
            split: _ndcg(run, {query: grades for query, grades in qrels.items() if told.splits[query] == split})
            for split in sorted(splits)
        },
        "scored_queries": len(qrels),
        "unranked": len(qrels) - len(ranked),
    }


def _ndcg(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> float | None:
    return score(run, qrels).ndcg_at_10 if qrels else None


def _first(found: Mapping[str, float]) -> list[str]:
    return sorted(found, key=lambda document: (found[document], document), reverse=True)[:SCORED]
