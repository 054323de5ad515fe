"""A query tells the evidence of the entry it came from, to whom that gives no grade away."""

from __future__ import annotations

import pytest

from stm_agent.testing.annotate import client, fill

MARK = {"key": "m1", "document": "d3", "field": "text", "start": 0, "end": 8, "level": "relevant"}


@pytest.fixture
def made(tool):
    """The key of a query that Bo's entry made."""
    fill(tool, "qa")
    bo = client(tool, "Bo")
    key = bo.post("/projects/signs/entries").json()["key"]
    changes = {"values": {"question": "what changes"}, "evidence": [MARK], "state": "done"}
    assert bo.patch(f"/projects/signs/entries/{key}", json={"version": 1, "changes": changes}).is_success
    return bo.post(f"/projects/signs/entries/{key}/query", json={"split": "dev"}).json()["key"]


def test_a_query_has_the_evidence_of_its_entry(tool, made):
    place = f"/projects/signs/queries/{made}"
    for name in ("Bo", "Ada"):
        told = client(tool, name).get(place).json()
        assert (told["text"], told["from_entry"]) == ("what changes", True)
        assert told["evidence"] == [{**MARK, "text": "A change"}]
    assert client(tool, "Ada").get("/projects/signs/queries/q1").json()["evidence"] == []
    assert client(tool, "Ada").get("/projects/signs/queries/none").status_code == 404


def test_who_is_to_judge_a_query_sees_its_evidence_only_when_done(tool, made):
    cy, place = client(tool, "Cy"), f"/projects/signs/queries/{made}"
    assert cy.get(place).json()["evidence"] is None
    assert cy.put(f"{place}/done", json={"done": True}).is_success
    assert cy.get(place).json()["evidence"] == [{**MARK, "text": "A change"}]


def test_a_key_with_a_slash_is_a_query_too(tool, made):
    ada = client(tool, "Ada")
    assert ada.post("/projects/signs/queries", json={"text": "t", "key": "a/b"}).is_success
    assert ada.get("/projects/signs/queries/a/b").json()["key"] == "a/b"
    assert ada.get("/projects/signs/queries/a/b/pool").json() == []
