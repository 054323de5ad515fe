"""Groups of things that are not independent: queries that share a relevant document or a text, for example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stm_agent.domain.collection import NO_COPIES, SameText, Split
from stm_agent.domain.text import normalise

Trait = tuple[str, str]
"""Kind and value of what two things can share."""


def representatives(traits: Mapping[str, Iterable[Trait]]) -> dict[str, str]:
    """Return for each name the first name that it shares a trait with, directly or through others (union-find)."""
    parent = {name: name for name in traits}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    first: dict[Trait, str] = {}
    for name, own in traits.items():
        for trait in own:
            parent[root(name)] = root(first.setdefault(trait, name))
    return {name: root(name) for name in traits}


def query_groups(split: Split, same_text: SameText = NO_COPIES) -> list[tuple[str, ...]]:
    """Return the connected components of queries over shared relevant documents and shared normalised texts.

    Args:
        split: Queries with their judgements; those without a relevant document are grouped by text alone.
        same_text: Documents with one text count as one; see :attr:`Collection.same_text`.

    Returns:
        Groups of query ids, each sorted, in the order of their first ids.
    """
    ordered = sorted(split.queries)
    group_of = representatives({query: _traits(split, query, same_text) for query in ordered})
    members: dict[str, list[str]] = {}
    for query in ordered:
        members.setdefault(group_of[query], []).append(query)
    return [tuple(group) for group in members.values()]


def _traits(split: Split, query: str, same_text: SameText) -> Iterable[Trait]:
    """Yield what makes two queries one group: a relevant document, or the text."""
    text = split.queries[query]
    yield "text", normalise(text) or text
    for document, grade in split.qrels.get(query, {}).items():
        if grade > 0:
            yield "document", same_text.get(document, (document,))[0]


def relevant_texts(split: Split, same_text: SameText, queries: Iterable[str] | None = None) -> set[str]:
    """Return the documents that are relevant to queries of a split, of several with one text the first.

    Args:
        split: Queries with their judgements.
        same_text: See :attr:`Collection.same_text`.
        queries: Ids of the queries; None: all.
    """
    rows = split.qrels.values() if queries is None else (split.qrels[query] for query in queries)
    graded = ((document, grade) for row in rows for document, grade in row.items())
    return {same_text.get(document, (document,))[0] for document, grade in graded if grade > 0}
