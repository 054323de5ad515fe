"""The test queries by row: scores, the passages found first, and slices, as columns that compress well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from stm_agent.files import read_jsonl
from stm_agent.inspect.page.record import RunRecord
from stm_agent.loop.answers import Answers
from stm_agent.loop.slices import length_types, query_type

MODEL = "merged"


@dataclass(frozen=True)
class Limits:
    """What is shown of each text, so that the page stays small.

    Attributes:
        passage: Characters of a passage.
        query: Characters of a query.
        first: Passages of each row and query.
        rows: Rows whose passages are shown; None: all.
    """

    passage: int = 400
    query: int = 400
    first: int = 5
    rows: tuple[str, ...] | None = None


class Queries(TypedDict):
    """Columns over queries.

    Attributes:
        rows: Names of the rows of the report.
        ids: Ids of the queries.
        texts: Their texts.
        scores: Row -> nDCG@10 in thousandths, one a query.
        first: Row -> indexes into ``passages`` of the passages found first, one list a query.
        relevant: Pairs of passage and grade, flat, one list a query.
        slices: Name -> value of each query.
        passages: Beginnings of passages.
        documents: Their ids.
        shortened: Whether texts are cut.
    """

    rows: list[str]
    ids: list[str]
    texts: list[str]
    scores: dict[str, list[int]]
    first: dict[str, list[list[int]]]
    relevant: list[list[int]]
    slices: dict[str, list[str]]
    passages: list[str]
    documents: list[str]
    shortened: bool


@dataclass
class _Passages:
    """Documents in the order in which they are first named."""

    texts: Mapping[str, str]
    length: int
    indexes: dict[str, int] = field(default_factory=dict)
    cut: bool = False

    def at(self, name: str) -> int:
        """Return the index of a document."""
        return self.indexes.setdefault(name, len(self.indexes))

    def shown(self) -> list[str]:
        """Return the beginnings of all documents that were named."""
        return [self._beginning(self.texts.get(name, "")) for name in self.indexes]

    def _beginning(self, text: str) -> str:
        if len(text) <= self.length:
            return text
        self.cut = True
        return f"{text[: self.length]}…"


def queries(record: RunRecord, limits: Limits, corpus: Callable[[], Mapping[str, str]]) -> Queries | None:
    """Return the queries of a run whose test was opened; None: test is closed.

    Args:
        record: The run.
        limits: What is shown of each text.
        corpus: Returns document id -> text; called only if passages are shown.
    """
    if not record.per_query:
        return None
    named = {row: (record.per_query[row], record.answers) for row in record.per_query}
    return columns(named, limits, corpus)


def columns(
    rows: Mapping[str, tuple[Mapping[str, float], Answers | None]],
    limits: Limits,
    corpus: Callable[[], Mapping[str, str]],
    names: Mapping[str, str] | None = None,
) -> Queries:
    """Return columns over the queries that all rows share.

    Args:
        rows: Row -> scores by query, and what its run found.
        limits: As in :func:`queries`.
        corpus: As in :func:`queries`.
        names: Row -> its name in the answers of its run; None: the same.
    """
    known = names or {row: row for row in rows}
    first_scores, _ = next(iter(rows.values()))
    ids = [query for query in first_scores if all(query in scores for scores, _ in rows.values())]
    answers = next((found for _, found in rows.values() if found), None)
    passages = _Passages(corpus() if answers and limits.first else {}, limits.passage)
    texts = [answers["queries"].get(query, query) if answers else query for query in ids]
    relevant = [_relevant(answers, query, passages) for query in ids]
    shown = limits.rows if limits.rows is not None else tuple(rows)
    first = {
        row: _first(found["rows"][known[row]], ids, limits.first, passages)
        for row, (_, found) in rows.items()
        if row in shown and limits.first and found and known[row] in found["rows"]
    }
    return {
        "rows": list(rows),
        "ids": ids,
        "texts": [text[: limits.query] for text in texts],
        "scores": {row: [round(1000 * scores[query]) for query in ids] for row, (scores, _) in rows.items()},
        "first": first,
        "relevant": relevant,
        "slices": _slices(texts, ids, rows) if answers else {},
        "passages": passages.shown(),
        "documents": list(passages.indexes),
        "shortened": passages.cut or any(len(text) > limits.query for text in texts),
    }


def _relevant(answers: Answers | None, query: str, passages: _Passages) -> list[int]:
    grades = answers["relevant"].get(query, {}) if answers else {}
    best = sorted(grades.items(), key=lambda item: -item[1])[:20]
    return [number for name, grade in best for number in (passages.at(name), grade)]


def _first(found: Mapping[str, Sequence[str]], ids: Iterable[str], count: int, passages: _Passages) -> list[list[int]]:
    return [[passages.at(name) for name in found.get(query, ())[:count]] for query in ids]


def _slices(
    texts: Sequence[str], ids: Sequence[str], rows: Mapping[str, tuple[Mapping[str, float], Answers | None]]
) -> dict[str, list[str]]:
    """Return the slices that the text alone decides, and whether BM25 finds the answer."""
    lengths = length_types(dict(zip(ids, texts, strict=True)))
    slices = {"type": [query_type(text) for text in texts], "length": [lengths[query] for query in ids]}
    if "BM25" in rows:
        scores, _ = rows["BM25"]
        slices["BM25"] = ["findable" if scores[query] > 0 else "not findable" for query in ids]
    return slices


def corpus_texts(record: RunRecord) -> dict[str, str]:
    """Return document id -> title and text of a run's corpus; empty if its copy is gone."""
    rows = read_jsonl(record.folder / "dev" / "corpus.jsonl")
    return {str(row["_id"]): f"{row.get('title', '')} {row.get('text', '')}".strip() for row in rows}
