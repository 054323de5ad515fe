"""Ids that look like routes are ids."""

from __future__ import annotations

import pytest

from stm_agent.annotate.client import Client
from stm_agent.testing.annotate import client, fill, person
from stm_agent.testing.browser import serving

ROUTES = (
    "swimming/pool",
    "swimming/done",
    "swimming/judgements",
    "a/judgements/b",
    "x/final/y",
    "a/llm-grades",
    "/",
    "a%2Fb",
)


@pytest.fixture
def team(small):
    """Project Signs with queries and documents called like routes, beside ``swimming``."""
    fill(small)
    ada = client(small, "Ada")
    for key in ("swimming", *ROUTES):
        assert ada.post("/projects/signs/queries", json={"text": f"about {key}", "key": key}).status_code == 201
    rows = [[key, {"text": f"text of {key}"}] for key in ("swimming", *ROUTES)]
    assert ada.post("/projects/signs/documents", json={"documents": rows}).json()["added"] == len(rows)
    return small


@pytest.mark.parametrize("key", ROUTES)
def test_a_query_and_a_document_with_any_id_can_be_worked_with(team, key):
    token = client(team, "Ada").headers["authorization"].removeprefix("Bearer ")
    with serving(team) as url, Client(url, token=token) as ada:
        query = ada.query("signs", key)
        assert (query["key"], query["text"]) == (key, f"about {key}")
        assert ada.save_query("signs", key, version=1, text="new words")["key"] == key
        assert ada.judge("signs", key, key, grade=2)["grade"] == 2
        assert [row["document"] for row in ada.pool("signs", key)] == [key]
        ada.done("signs", key)
        assert [row["document"] for row in ada.judgements("signs", key)] == [key]
        assert ada.settle("signs", key, key, grade=1)["grade"] == 1
        assert ada.tag_document("signs", key, add=["seen"])["tags"] == ["seen"]
        assert ada.document("signs", key)["fields"]["text"] == f"text of {key}"
        ada.done("signs", key, done=False)
        ada.delete_query("signs", key)
        assert ada.query("signs", "swimming")["text"] == "about swimming", "nothing else was touched"
        assert ada.pool("signs", "swimming") == []


def test_a_slash_that_is_not_escaped_still_works_where_one_route_fits(team):
    ada = client(team, "Ada")
    assert ada.get("/projects/signs/documents/a/judgements/b").json()["key"] == "a/judgements/b"


def test_a_slash_in_a_part_that_has_none_is_not_found(team):
    person(team, "Eve/admin", "reviewer")
    ada = client(team, "Ada")
    assert ada.get("/projects/a%2Fb").status_code == 404
    assert ada.get("/projects/signs/entries/a%2Fb").status_code == 404
    assert ada.patch("/people/Eve%2Fadmin", json={"version": 1, "role": "annotator"}).json()["name"] == "Eve/admin"
