"""Documents are found by what people type and by every filter, in either database and any script."""

from __future__ import annotations

import pytest

from stm_agent.annotate import finding
from stm_agent.annotate.services import documents, projects
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.testing.annotate import client

TEXTS = {
    "d1": "A raised body temperature at a ratio of 3:1",
    "d2": "To be or not to be, asked the doctor",
    "d3": "temperate zones",
}
CORPUS = finding.Corpus(TEXTS, {key: {"year": 2001} for key in TEXTS}, Bm25Index(TEXTS))


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("temperatu", {"d1"}),
        ("temp", {"d1", "d3"}),
        ("temp ", set()),
        ("body temp", {"d1", "d3"}),
        ('"to be or not"', {"d2"}),
        ('"to be or never"', set()),
        ("ratio 3:1", {"d1"}),
        ("doctor year:2001", {"d2"}),
    ],
)
def test_what_is_typed_is_found_before_it_is_finished(typed, keys):
    assert {key for key, _ in CORPUS.bm25(finding.read_query(typed, CORPUS.names), 10)} == keys


ROWS = [
    ("a", {"text": "one", "title": "Über Fieber", "year": 100}),
    ("b", {"text": "two", "title": "50% off", "year": 9}),
    ("c", {"text": "three", "title": "x", "year": 2001}),
    ("e", {"text": "four", "title": "y", "year": "unknown"}),
    ("f", {"text": "five", "title": "z", "year": "1999"}),
    ("g", {"text": "six", "title": "w"}),
]


def test_filters_and_orders_know_numbers_and_letters(tool, project):
    ada = client(tool, "Ada")
    schema = ada.get("/projects/signs").json()["schema"]
    schema["fields"].append({"id": "year", "name": "year", "type": "number"})
    made = ada.post("/projects", json={"name": "Rows", "schema": schema}).json()["key"]
    with tool.database.writing() as session:
        from stm_agent.annotate.actor import Actor

        documents.add(session, projects.find(session, Actor(1, "Ada", "admin"), made), ROWS)

    def keys(**asked):
        told = ada.get(f"/projects/{made}/documents", params=asked)
        assert told.status_code == 200, told.text
        return [row["key"] for row in told.json()["documents"]]

    assert keys(filter="year>99") == ["a", "c", "f"]
    assert keys(filter="year<=9") == ["b"]
    assert keys(sort="year")[-4:] == ["b", "a", "f", "c"] or keys(sort="year")[:4] == ["b", "a", "f", "c"]
    assert keys(filter="title~über") == ["a"]
    assert keys(filter="title~FIEBER") == ["a"]
    assert keys(filter="title~50%") == ["b"]


def test_tags_of_any_script_are_found_and_nobodys_are_lost(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    ada.patch("/projects/signs/tags/d1", json={"add": ["größe", '50%"']})
    assert bo.patch("/projects/signs/tags/d1", json={"add": ["x"]}).json()["tags"] == ['50%"', "größe", "x"]
    assert bo.patch("/projects/signs/tags/d1", json={"remove": ["x"]}).json()["tags"] == ['50%"', "größe"]
    for tag, found in (("größe", 1), ('50%"', 1), ("5", 0), ("%", 0), ("x", 0)):
        assert ada.get("/projects/signs/documents", params={"tag": tag}).json()["total"] == found


def test_names_with_a_slash_can_be_worked_with(small):
    from stm_agent.testing.annotate import fill, person

    fill(small)
    person(small, "evil/1")
    ada = client(small, "Ada")
    assert ada.patch("/people/evil%2F1", json={"version": 1, "active": False}).json()["active"] is False
    for name in ("openai/x", "other"):
        ada.put("/llms", json={"name": name, "model": "scripted:numbered"})
    assert ada.delete("/llms/openai%2Fx").status_code == 204
    (left,) = ada.get("/llms").json()
    assert (left["name"], left["default"]) == ("other", True)
    query = ada.post("/projects/signs/queries", json={"text": "a query", "key": "a/b"}).json()["key"]
    assert ada.put(f"/projects/signs/queries/{query}/judgements/d1", json={"grade": 1}).status_code == 200
    assert ada.get("/projects/signs/queries/a%2Fb/pool").json()[0]["document"] == "d1"
    assert ada.put("/projects/signs/queries/a%2Fb/done", json={"done": True}).status_code == 204
