"""Whether written queries ask for their passages: BM25 must find these again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stm_agent.evaluate.bm25 import Bm25Index

ROUND_TRIP = 10
"""First passages of BM25 among which a written query must find its own."""
FEWEST_FOUND = 0.3
"""Share of the written queries that must find their passage so. Texts that have nothing to do with their passage pass
every check of their form; a small decoder writes hardly anything else."""


def share_found(lexical: Bm25Index, queries: Mapping[str, str], passages: Mapping[str, Collection[str]]) -> float:
    """Return the share of queries for which BM25 finds a passage again, from 0 to 1; 0 of no query.

    Args:
        lexical: BM25 over all passages.
        queries: Query id -> text.
        passages: Query id -> ids of the passages that it was written for, and of their copies.
    """
    run = lexical.run(queries, ROUND_TRIP)
    return sum(not run.get(key, {}).keys().isdisjoint(passages[key]) for key in queries) / max(1, len(queries))
