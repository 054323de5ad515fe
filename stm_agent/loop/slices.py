"""Slices of the search half: which queries a model answers well, and which it fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean

from stm_agent.domain.collection import Split
from stm_agent.domain.keywords import keywords
from stm_agent.evaluate.metrics import Scores
from stm_agent.loop.context import RunContext

QUESTION_WORDS = frozenset(
    {
        *("what", "which", "who", "whom", "whose", "when", "where", "why", "how"),
        *("is", "are", "was", "were", "do", "does", "did", "can", "could", "should", "would", "will", "has", "have"),
    }
)
"""First words of English questions; in other languages a question mark marks them."""

QUESTION_MARKS = ("?", "\uff1f", "\u061f")
"""Of Latin, Chinese and Japanese, and Arabic text."""

KEYWORDS = 4
"""Words up to which a query counts as keywords if it is not a question."""

FINDABLE = 10
"""First ranks of BM25 among which a relevant passage makes a query findable."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Queries of the search half that have something in common.

    Attributes:
        by: What they are sorted by: ``type``, ``length``, ``BM25`` or ``field``.
        name: Their value of it.
        queries: Their ids.
        ndcg_at_10: Their mean score.
    """

    by: str
    name: str
    queries: tuple[str, ...]
    ndcg_at_10: float


def slices_of(context: RunContext, scores: Scores) -> tuple[Slice, ...]:
    """Return the slices of the search half with their scores, the order of which is fixed."""
    slices = []
    for by, names in traits(context).items():
        for name in dict.fromkeys(names.values()):
            queries = tuple(query for query in names if names[query] == name and query in scores.per_query)
            if queries:
                score = mean(scores.per_query[query] for query in queries)
                slices.append(Slice(by=by, name=name, queries=queries, ndcg_at_10=score))
    return tuple(sorted(slices, key=lambda part: (part.by, part.name)))


def traits(context: RunContext) -> Mapping[str, Mapping[str, str]]:
    """Return trait -> query id -> value, for the queries of the search half; found once for each ``context``."""
    known: dict[str, Mapping[str, str]] = context.__dict__.setdefault("_traits", {})
    if not known:
        known.update(_traits(context))
    return known


def _traits(context: RunContext) -> Mapping[str, Mapping[str, str]]:
    split = context.search.split
    titles = {document.id: document.title for document in context.data.collection.documents}
    ranked = context.lexical.run(split.queries, FINDABLE, split.ignored_ids)
    found = {
        query: "findable" if any(split.qrels[query].get(name, 0) > 0 for name in ranked[query]) else "not findable"
        for query in split.queries
    }
    return {
        "BM25": found,
        "field": {query: _field(split, query, titles) for query in split.queries},
        "length": length_types(split.queries),
        "type": {query: query_type(text) for query, text in split.queries.items()},
    }


def query_type(text: str) -> str:
    """Return ``question``, ``keywords`` or ``statement``."""
    words = text.split()
    if text.rstrip().endswith(QUESTION_MARKS) or (words and words[0].lower() in QUESTION_WORDS):
        return "question"
    return "keywords" if len(words) <= KEYWORDS else "statement"


def length_limits(queries: Mapping[str, str]) -> tuple[int, int]:
    """Return the letters below which a query is short and above which it is long: the thirds of some queries."""
    order = sorted(len(text) for text in queries.values())
    return order[len(order) // 3], order[2 * len(order) // 3]


def length_of(text: str, limits: tuple[int, int]) -> str:
    """Return ``short``, ``medium`` or ``long``."""
    low, high = limits
    return "short" if len(text) < low else "long" if len(text) > high else "medium"


def length_types(queries: Mapping[str, str]) -> dict[str, str]:
    """Return short, medium or long: the thirds of the queries by their letters."""
    limits = length_limits(queries)
    return {query: length_of(text, limits) for query, text in queries.items()}


def field_of(query: str, titles: Iterable[str]) -> str:
    """Return whether a query shares a word with one of the titles of its relevant documents: where it is answered."""
    words, *headings = keywords([query, *titles])
    return "title" if any(set(words) & set(heading) for heading in headings) else "text only"


def _field(split: Split, query: str, titles: Mapping[str, str]) -> str:
    relevant = (name for name, grade in split.qrels[query].items() if grade > 0)
    return field_of(split.queries[query], (titles.get(name, "") for name in relevant))
