"""Slices of the search half, and the passages that further queries are written for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.domain.collection import Document, Split
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.evaluate.metrics import Scores
from stm_agent.loop.failing import passages_near_failures
from stm_agent.loop.slices import query_type, slices_of

DOCUMENTS = (
    *(Document(f"bike{number}", "Bicycle wheels", f"A bicycle wheel steers, note {number}.") for number in range(8)),
    *(Document(f"wall{number}", "", f"Damp walls grow mould, note {number}.") for number in range(8)),
)
QUERIES = {
    **{f"b{number}": f"why does a bicycle wheel steer {number}?" for number in range(6)},
    **{f"w{number}": f"black stains {number}" for number in range(6)},
}
RELEVANT = {**{f"b{number}": f"bike{number}" for number in range(6)}, **{f"w{n}": f"wall{n}" for n in range(6)}}


@pytest.fixture
def context() -> Any:
    qrels = {query: {document: 1} for query, document in RELEVANT.items()}
    split = Split("dev", QUERIES, qrels)
    texts = {document.id: document.full for document in DOCUMENTS}
    return SimpleNamespace(
        search=SimpleNamespace(split=split),
        dev=SimpleNamespace(split=split),
        data=SimpleNamespace(collection=SimpleNamespace(documents=DOCUMENTS)),
        lexical=Bm25Index(texts),
    )


def scores(bikes: float, walls: float) -> Scores:
    per_query = {query: bikes if query.startswith("b") else walls for query in QUERIES}
    return Scores(sum(per_query.values()) / len(per_query), 0.0, 0.0, per_query)


def test_slices_say_what_kind_of_query_fails(context: Any) -> None:
    parts = slices_of(context, scores(0.9, 0.1))
    slices = {(part.by, part.name): (len(part.queries), part.ndcg_at_10) for part in parts}
    assert slices["type", "question"] == (6, pytest.approx(0.9))
    assert slices["type", "keywords"] == (6, pytest.approx(0.1))
    assert slices["BM25", "findable"] == (6, pytest.approx(0.9))
    assert slices["BM25", "not findable"] == (6, pytest.approx(0.1))
    assert slices["field", "title"] == (6, pytest.approx(0.9))
    assert sum(number for (by, _), (number, _) in slices.items() if by == "length") == len(QUERIES)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Where do I start", "question"),
        ("轮子为什么转\uff1f", "question"),
        ("wet wall", "keywords"),
        ("my wall is wet every morning in winter", "statement"),
    ],
)
def test_a_query_is_a_question_keywords_or_a_statement(text: str, kind: str) -> None:
    assert query_type(text) == kind


def test_passages_near_failing_queries_are_never_judged_ones(context: Any) -> None:
    pool = {document.id for document in DOCUMENTS}
    chosen = passages_near_failures(context, scores(0.1, 0.9), pool, 2)
    assert set(chosen) == {"bike6", "bike7"}
    everything = passages_near_failures(context, scores(0.1, 0.9), pool, 100)
    assert set(everything) == pool - set(RELEVANT.values())
    assert everything[:2] == chosen, "others only fill up"
