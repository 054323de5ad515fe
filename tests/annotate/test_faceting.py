"""Values of fields, counted; documents like another one."""

from __future__ import annotations

import pytest

from stm_agent.annotate.faults import NotFound
from stm_agent.annotate.services import searching
from stm_agent.testing.annotate import client, fill

MORE = [
    [
        f"x{number}",
        {"title": "Fever", "text": "A fever of a child, it is said.", "year": 1999 + number % 3, "lang": lang},
    ]
    for number, lang in enumerate(["en", "en", "de", "en", "fr, ca"])
]


@pytest.fixture
def ada(tool):
    fill(tool)
    made = client(tool, "Ada")
    made.post("/projects/signs/documents", json={"documents": MORE})
    return made


def told(ada, **asked):
    rows = ada.get("/projects/signs/facets", params=asked).json()
    return {row["field"]: {one["value"]: one["count"] for one in row["values"]} for row in rows}


def test_values_of_all_documents_of_a_filter_and_of_a_search_are_counted(ada):
    ada.patch("/projects/signs/tags/x0", json={"add": ["seen"]})
    whole = {"en": 3, "de": 1, "fr, ca": 1}
    assert told(ada) == {"year": {"1999": 3, "2000": 2, "2001": 2, "2010": 1}, "lang": whole, None: {"seen": 1}}
    assert told(ada, filter=["lang=en"]) == {"lang": {"en": 3}, "year": {"1999": 2, "2000": 1}, None: {"seen": 1}}
    assert told(ada, tag="seen") == {None: {"seen": 1}}, "a field that no two share a value of tells nothing"
    assert told(ada, q="fever child")["lang"] == whole
    assert ada.get("/projects/signs/facets", params={"filter": "odd"}).status_code == 422
    (lang,) = [row for row in ada.get("/projects/signs/facets").json() if row["field"] == "lang"]
    assert lang["distinct"] == 3


def test_of_many_values_the_most_frequent_are_told(ada):
    rows = [[f"y{number}", {"text": "a", "code": f"c{number // 2:02}"}] for number in range(40)]
    ada.post("/projects/signs/documents", json={"documents": rows})
    (code,) = [row for row in ada.get("/projects/signs/facets").json() if row["field"] == "code"]
    assert (len(code["values"]), code["distinct"], code["values"][0]) == (8, 20, {"value": "c00", "count": 2})


def test_documents_like_one_do_not_include_it(ada, tool):
    rows = ada.get("/projects/signs/like/x0", params={"k": 4}).json()
    assert {row["key"] for row in rows} == {"x1", "x2", "x3", "x4"}
    assert rows[0]["snippet"]["hits"] == []
    assert ada.get("/projects/signs/like/gone").status_code == 404
    assert ada.get("/projects/signs/like/x0", params={"k": 0}).status_code == 422


def test_an_operator_in_a_document_is_none(ada):
    ada.post("/projects/signs/documents", json={"documents": [["odd", {"text": 'a fever -child lang:xx "of no use'}]]})
    assert "x0" in [row["key"] for row in ada.get("/projects/signs/like/odd", params={"k": 9}).json()]


def test_a_client_asks_for_both(tool, ada):
    from stm_agent.annotate.finding import Corpus
    from stm_agent.evaluate.bm25 import Bm25Index

    texts = {"a": "one two", "b": "two three", "c": "four"}
    corpus = Corpus(texts, {key: {"text": text} for key, text in texts.items()}, Bm25Index(texts))
    assert [row["key"] for row in searching.like(corpus, "a", k=5, stock=tool.models)] == ["b"]
    with pytest.raises(NotFound, match="no document 'z'"):
        searching.like(corpus, "z", k=5, stock=tool.models)
