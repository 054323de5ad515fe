"""Training pairs whose queries are like those of a slice of the search half."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stm_agent.domain.data import Pair
from stm_agent.loop.context import RunContext
from stm_agent.loop.slices import FINDABLE, length_limits, length_of, query_type


def pairs_like(context: RunContext, pairs: Sequence[Pair], by: str, name: str) -> tuple[Pair, ...]:
    """Return the pairs whose query has a trait, in their order.

    Args:
        context: The run.
        pairs: The pairs.
        by: The trait, a key of :data:`LIKENESS`.
        name: Its value, with ``-`` for spaces.
    """
    values = LIKENESS[by](context, pairs)
    return tuple(pair for pair, value in zip(pairs, values, strict=True) if value.replace(" ", "-") == name)


def _types(context: RunContext, pairs: Sequence[Pair]) -> list[str]:
    return [query_type(pair.query) for pair in pairs]


def _lengths(context: RunContext, pairs: Sequence[Pair]) -> list[str]:
    # The limits are those of the search half: what is short for its queries.
    limits = length_limits(context.search.split.queries)
    return [length_of(pair.query, limits) for pair in pairs]


def _found_by_words(context: RunContext, pairs: Sequence[Pair]) -> list[str]:
    """Return whether BM25 finds the positive of each pair; positives outside of the corpus are not found."""
    names = {text: name for name, text in context.documents.items()}
    queries = {str(number): pair.query for number, pair in enumerate(pairs)}
    ranked = context.lexical.run(queries, FINDABLE) if queries else {}
    return [
        "findable" if names.get(pair.positive) in ranked[str(number)] else "not findable"
        for number, pair in enumerate(pairs)
    ]


LIKENESS: Mapping[str, Callable[[RunContext, Sequence[Pair]], list[str]]] = {
    "BM25": _found_by_words,
    "length": _lengths,
    "type": _types,
}
"""Trait -> function that returns the value of each pair."""
