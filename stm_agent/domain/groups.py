"""Groups of queries that are not independent: they share a relevant document or a text."""

from __future__ import annotations

from collections.abc import Iterable

from stm_agent.domain.collection import Split
from stm_agent.domain.text import normalise


def query_groups(split: Split) -> list[tuple[str, ...]]:
    """Return the connected components of queries over shared relevant documents and shared normalised texts.

    Args:
        split: Queries with their judgements; those without a relevant document are grouped by text alone.

    Returns:
        Groups of query ids, each sorted, in the order of their first ids.
    """
    parent = {query: query for query in split.queries}

    def root(query: str) -> str:
        while parent[query] != query:
            parent[query] = parent[parent[query]]
            query = parent[query]
        return query

    first: dict[tuple[str, str], str] = {}
    for query in sorted(split.queries):
        for trait in _traits(split, query):
            parent[root(query)] = root(first.setdefault(trait, query))
    members: dict[str, list[str]] = {}
    for query in sorted(split.queries):
        members.setdefault(root(query), []).append(query)
    return [tuple(group) for group in members.values()]


def _traits(split: Split, query: str) -> Iterable[tuple[str, str]]:
    """Yield what makes two queries one group: a relevant document, or the text."""
    text = split.queries[query]
    yield "text", normalise(text) or text
    for document, grade in split.qrels.get(query, {}).items():
        if grade > 0:
            yield "document", document
