"""Which written queries stay: none that a dev or test query resembles, none twice, none that misses its passage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stm_agent.domain.duplicates import near_duplicates
from stm_agent.domain.held import HeldQueries
from stm_agent.domain.text import normalise
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.evaluate.ranking import rank
from stm_agent.mine.prompted import PromptedEncoder

HELD = "nearly a dev or test query"
TWICE = "nearly another written query"
LOST = "does not find its passage"
RANK_BM25, RANK_DENSE = "rank_bm25", "rank_dense"
RANKS = frozenset({RANK_BM25, RANK_DENSE})
"""Names of the ranks of a round trip among the scores of a row."""
LEFT_OUT = frozenset({HELD, TWICE, LOST})
"""Reasons of the filters here; all others are those of checking."""


def repeated(queries: Sequence[str], held: HeldQueries, before: Sequence[str] = ()) -> dict[int, str]:
    """Return position -> reason of queries that are nearly a dev or test query, or nearly an earlier one.

    Args:
        queries: Written queries in their order.
        held: The queries of dev and test.
        before: Queries that were written earlier.
    """
    faults: dict[int, str] = {}
    seen = set(map(normalise, before))
    for position, query in enumerate(queries):
        if held.has(query):
            faults[position] = HELD
        elif (text := normalise(query)) in seen:
            faults[position] = TWICE
        else:
            seen.add(text)
    left = [position for position in range(len(queries)) if position not in faults]
    for near in near_duplicates([*before, *(queries[position] for position in left)]):
        if near >= len(before):
            faults[left[near - len(before)]] = TWICE
    return faults


def round_trip_ranks(
    queries: Sequence[tuple[str, str]], pool: Mapping[str, str], depth: int, encoder: PromptedEncoder | None
) -> list[dict[str, float]]:
    """Return for each query the ranks of its own passage by retriever, from 1; a retriever that misses it has none.

    A query that does not find the passage it was written for is a bad label for it (Dai et al. 2022, "Promptagator",
    arXiv 2209.11755).

    Args:
        queries: Written query and id of its passage.
        pool: Passage id -> text that is searched.
        depth: Passages that each retriever returns.
        encoder: The dense retriever; None: BM25 alone.
    """
    texts = [query for query, _ in queries]
    if not texts:
        return []
    lexical = Bm25Index(pool).search(texts, depth)
    found = {RANK_BM25: [[name for name, _ in hits] for hits in lexical]}
    if encoder is not None:
        names, ids = [str(index) for index in range(len(texts))], list(pool)
        run = rank(names, encoder.queries(texts), ids, encoder.corpus(list(pool.values())), k=depth)
        found[RANK_DENSE] = [[hit for hit, _ in sorted(run[name].items(), key=lambda row: -row[1])] for name in names]
    return [
        {name: float(hits[index].index(passage) + 1) for name, hits in found.items() if passage in hits[index]}
        for index, (_, passage) in enumerate(queries)
    ]
