"""Documents are found by their ids, in scripts without spaces, and in letters that fold to others."""

from __future__ import annotations

import numpy as np
import pytest

from stm_agent.annotate import finding, spelling
from stm_agent.annotate.services import documents, projects, searching
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.testing.annotate import client

TEXTS = {
    "d01": "患者は発熱と咳がある。",
    "d02": "Die Straße ist nass, und der ﬁeberhafte Mann wartet.",
    "d03": "ผู้ป่วยมีไข้สูงและไอ",
    "d04": "发热三天,伴有咳嗽",
    "d05": "a fever d01, and again a fever",
    "d051": "nothing of note, in heart and lung",
    "D06": "発熱、頭痛",
    "g1": "ΟΔΟΣ",
}
FIELDS = {key: {"text": text, "year": len(text)} for key, text in TEXTS.items()}
UNITS = np.eye(3, dtype=np.float32)
CORPUS = finding.Corpus(TEXTS, FIELDS, Bm25Index(TEXTS))


def found(typed, k=20):
    return searching.search(CORPUS, typed, k=k, stock=None)


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("発熱", ["D06", "d01"]),
        ("発熱 咳", ["d01", "d04", "D06"]),
        ("咳", ["d04", "d01"]),
        ("有咳三", ["d04"]),
        ("発熱 -頭痛", ["d01"]),
        ("発熱 -咳", ["D06"]),
        ("咳嗽", ["d04"]),
        ("ไข้", ["d03"]),
        ("strasse", ["d02"]),
        ("STRASSE mann", ["d02"]),
        ("fieberhafte", ["d02"]),
        ("οδος", ["g1"]),
        ("eart", ["d051"]),
        ("fever", ["d05"]),
        ("骨折", []),
    ],
)
def test_words_are_found_in_every_script_ranked_or_as_they_are_typed(typed, keys):
    assert [row["key"] for row in found(typed)] == keys


def test_what_only_holds_the_words_comes_behind_what_is_ranked():
    first, second = found("熱")
    assert (first["key"], second["key"]) == ("d01", "D06")
    assert first["score"] > 0 and second["score"] == 0
    assert [row["key"] for row in found("熱", k=1)] == ["d01"]


@pytest.mark.parametrize(
    ("typed", "text", "marked"),
    [
        ("発熱 咳", TEXTS["d01"], ["発熱", "咳"]),
        ("ไข้", TEXTS["d03"], ["ไข้"]),
        ("strasse", TEXTS["d02"], ["Straße"]),
        ("Straße", "STRASSE, Straßenbahn", ["STRASSE", "Straßenbahn"]),
        ("fieber", TEXTS["d02"], ["ﬁeberhafte"]),
        ("eart", TEXTS["d051"], ["eart"]),
        ("art", "a heart and art", ["art"]),
        ("c++ (x", "a (x of c++", ["c++"]),
        ("to", "to be", []),
    ],
)
def test_a_snippet_marks_what_was_typed(typed, text, marked):
    shown = spelling.snippet(text, typed)
    assert [shown["text"][start:end] for start, end in shown["hits"]] == marked


@pytest.mark.parametrize(
    ("typed", "keys"),
    [("d05", ["d05", "d051"]), ("D051", ["d051"]), ("d06", ["D06"]), ("d01", ["d01", "d05"]), (" ", []), ("", [])],
)
def test_an_id_finds_its_document_first(typed, keys):
    assert [row["key"] for row in found(typed)] == keys
    assert len(CORPUS.called("d")) == finding.NAMED


def test_an_id_finds_its_document_first_by_meaning_too(tool, project):
    ada = client(tool, "Ada")

    class Stock:
        def get(self, model):
            return self

        def passages(self, corpus, most):
            return UNITS

        def typed(self, words):
            return UNITS[:1]

    tool.models = Stock()
    for mode in ("dense", "both"):
        rows = ada.get("/projects/signs/search", params={"q": "d3", "mode": mode, "model": "m"}).json()
        assert rows[0]["key"] == "d3"
        assert sorted(row["key"] for row in rows) == ["d1", "d2", "d3"]


def test_a_filter_on_the_id_is_one_on_the_document(tool, project):
    ada = client(tool, "Ada")

    def keys(wanted):
        told = ada.get("/projects/signs/documents", params={"filter": wanted})
        assert told.status_code == 200, told.text
        return [row["key"] for row in told.json()["documents"]]

    for name in ("_id", "id", "Document_Id", "key"):
        assert keys(f"{name}=d2") == ["d2"]
    assert keys("id~D") == ["d1", "d2", "d3"]
    assert keys("_id!=d2") == ["d1", "d3"]
    assert keys("id>=d2") == ["d2", "d3"]
    with tool.database.writing() as session:
        row = session.scalar(projects.select(projects.Project).where(projects.Project.key == project))
        documents.add(session, row, [("d4", {"text": "x", "id": "own"})])
    assert keys("id=own") == ["d4"], "a field of that name is the field"
    assert keys("_id=d4") == ["d4"]


def test_a_filter_on_a_field_that_nothing_has_is_told(tool, project):
    ada = client(tool, "Ada")
    told = ada.get("/projects/signs/documents", params={"filter": "yaer>2000"})
    assert told.status_code == 422
    assert told.json()["title"] == "no document has a field 'yaer'; there are _id, title, text, year"
    assert ada.get("/projects/signs/documents", params={"filter": "year>2000"}).json()["total"] == 2
