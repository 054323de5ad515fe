"""The test queries by row: scores, the passages found first, and slices, as columns that compress well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from stm_agent.domain.collection import Document
from stm_agent.files import read_jsonl
from stm_agent.inspect.page.record import RunRecord
from stm_agent.loop.answers import Answers
from stm_agent.loop.slices import field_of, length_types, query_type

MODEL = "merged"
Rows = Mapping[str, tuple[Mapping[str, float], Answers | None]]
"""Row -> scores by query, and what its run found."""
First = dict[str, list[list[int]]]
"""Row -> indexes of the passages found first, one list a query."""


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
    first: First
    relevant: list[list[int]]
    slices: dict[str, list[str]]
    passages: list[str]
    documents: list[str]
    shortened: bool


@dataclass
class _Passages:
    """Documents in the order in which they are first named."""

    documents: Mapping[str, Document]
    length: int
    indexes: dict[str, int] = field(default_factory=dict)
    cut: bool = False

    def at(self, name: str) -> int:
        """Return the index of a document."""
        return self.indexes.setdefault(name, len(self.indexes))

    def shown(self) -> list[str]:
        """Return the beginnings of all documents that were named."""
        texts = (self.documents[name].full if name in self.documents else "" for name in self.indexes)
        return [self._beginning(text) for text in texts]

    def titles(self) -> dict[str, str]:
        """Return the titles by document id; those without one are left out."""
        return {name: document.title for name, document in self.documents.items() if document.title}

    def _beginning(self, text: str) -> str:
        if len(text) <= self.length:
            return text
        self.cut = True
        return f"{text[: self.length]}…"


def queries(record: RunRecord, limits: Limits, corpus: Callable[[], Mapping[str, Document]]) -> Queries | None:
    """Return the queries of a run whose test was opened; None: test is closed.

    Args:
        record: The run.
        limits: What is shown of each text.
        corpus: Returns the documents by id; called only if passages are shown.
    """
    if not record.per_query:
        return None
    named = {row: (record.per_query[row], record.answers) for row in record.per_query}
    return columns(named, limits, corpus)


def columns(
    rows: Rows,
    limits: Limits,
    corpus: Callable[[], Mapping[str, Document]],
    names: Mapping[str, str] | None = None,
) -> Queries:
    """Return columns over the queries that all rows share.

    Args:
        rows: The rows.
        limits: As in :func:`queries`.
        corpus: As in :func:`queries`.
        names: Row -> its name in the answers of its run; None: the same.
    """
    ids = _shared_queries(rows)
    answers = next((found for _, found in rows.values() if found), None)
    passages = _Passages(corpus() if answers and limits.first else {}, limits.passage)
    relevant = [_relevant(answers, query, passages) for query in ids]
    first = _first(rows, names or {}, ids, limits, passages)
    scores = {row: _thousandths(values, ids) for row, (values, _) in rows.items()}
    texts, slices = ids, dict[str, list[str]]()
    if answers:
        texts = [answers["queries"].get(query, query) for query in ids]
        slices = _text_slices(texts, ids) | _found_slices(scores, answers, texts, ids, passages)
    return {
        "rows": list(rows),
        "ids": ids,
        "texts": [text[: limits.query] for text in texts],
        "scores": scores,
        "first": first,
        "relevant": relevant,
        "slices": slices,
        "passages": passages.shown(),
        "documents": list(passages.indexes),
        "shortened": passages.cut or any(len(text) > limits.query for text in texts),
    }


def _shared_queries(rows: Rows) -> list[str]:
    """Return the queries that all rows have, in the order of the first row."""
    first, *others = (scores for scores, _ in rows.values())
    return [query for query in first if all(query in scores for scores in others)]


def _thousandths(scores: Mapping[str, float], ids: Sequence[str]) -> list[int]:
    return [round(1000 * scores[query]) for query in ids]


def _relevant(answers: Answers | None, query: str, passages: _Passages) -> list[int]:
    grades = answers["relevant"].get(query, {}) if answers else {}
    best = sorted(grades.items(), key=lambda item: -item[1])[:20]
    return [number for name, grade in best for number in (passages.at(name), grade)]


def _first(rows: Rows, names: Mapping[str, str], ids: Sequence[str], limits: Limits, passages: _Passages) -> First:
    """Return the passages that each row found first, of the rows whose passages are shown."""
    shown = rows if limits.rows is None else limits.rows
    columns: First = {}
    for row, (_, answers) in rows.items():
        found = answers["rows"].get(names.get(row, row)) if answers and row in shown and limits.first else None
        if found is not None:
            columns[row] = [[passages.at(name) for name in found.get(query, ())[: limits.first]] for query in ids]
    return columns


def _text_slices(texts: Sequence[str], ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the slices that the text of a query decides."""
    lengths = length_types(dict(zip(ids, texts, strict=True)))
    return {"type": [query_type(text) for text in texts], "length": [lengths[query] for query in ids]}


def _found_slices(
    scores: Mapping[str, Sequence[int]],
    answers: Answers,
    texts: Sequence[str],
    ids: Sequence[str],
    passages: _Passages,
) -> dict[str, list[str]]:
    """Return whether BM25 finds the answer, and whether its title is about the query; without titles, no such slice."""
    slices = {}
    if "BM25" in scores:
        slices["BM25"] = ["findable" if score > 0 else "not findable" for score in scores["BM25"]]
    titles = passages.titles()
    if titles:
        named = ([titles.get(name, "") for name in answers["relevant"].get(query, {})] for query in ids)
        slices["field"] = [field_of(text, headings) for text, headings in zip(texts, named, strict=True)]
    return slices


def corpus_documents(record: RunRecord) -> dict[str, Document]:
    """Return the documents of a run's corpus by their ids; empty if its copy is gone."""
    rows = read_jsonl(record.folder / "dev" / "corpus.jsonl")
    return {
        str(row["_id"]): Document(str(row["_id"]), str(row.get("title", "")), str(row.get("text", ""))) for row in rows
    }
