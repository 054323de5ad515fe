"""Passages near queries that fail, for which further queries are written.

They are chosen by what BM25 finds for a failing query of the search half, never by a judgement: passages that are
judged for dev are left out, those of the accept half included, and test stays closed.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import zip_longest

from stm_agent.evaluate.metrics import Scores
from stm_agent.files import sha256_text
from stm_agent.loop.context import RunContext
from stm_agent.loop.slices import slices_of

FAILING = 0.5
"""nDCG@10 below which a query fails."""

FEWEST = 5
"""Queries of a slice whose mean can be trusted."""

NEAR = 20
"""Passages that BM25 finds for a failing query, from which some are chosen."""


def passages_near_failures(context: RunContext, scores: Scores, pool: Collection[str], count: int) -> list[str]:
    """Return ids of passages near failing queries, those of the weakest slice first; if too few, others by hash.

    Args:
        context: The run.
        scores: Scores of the search half.
        pool: Ids of the passages to choose from.
        count: How many.
    """
    judged = {name for grades in context.dev.split.qrels.values() for name in grades}
    allowed = {name for name in pool if name not in judged}
    queries = context.search.split.queries
    order = {query: (rank, scores.per_query[query]) for query, rank in _slice_ranks(context, scores).items()}
    failing = sorted((query for query in order if scores.per_query[query] < FAILING), key=lambda query: order[query])
    ranked = context.lexical.run({query: queries[query] for query in failing}, NEAR) if failing else {}
    columns = ([name for name in ranked[query] if name in allowed] for query in failing)
    # The first passage of each query, then the second of each: many needs, not one.
    near = [name for row in zip_longest(*columns) for name in row if name is not None]
    others = sorted(allowed, key=sha256_text)
    return list(dict.fromkeys([*near, *others]))[:count]


def _slice_ranks(context: RunContext, scores: Scores) -> dict[str, int]:
    """Return for each query the rank, from 0, of the weakest slice that it is in."""
    weakest_first = sorted(
        (part for part in slices_of(context, scores) if len(part.queries) >= FEWEST),
        key=lambda part: part.ndcg_at_10,
    )
    ranks = dict.fromkeys(scores.per_query, len(weakest_first))
    for rank, part in reversed(list(enumerate(weakest_first))):
        ranks |= dict.fromkeys(part.queries, rank)
    return ranks
