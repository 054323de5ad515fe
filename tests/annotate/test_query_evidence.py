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


def entry_of(bo):
    (entry,) = bo.get("/projects/signs/entries").json()
    return f"/projects/signs/entries/{entry['key']}", entry["version"]


def change(bo, **changes):
    place, version = entry_of(bo)
    return bo.patch(place, json={"version": version, "changes": changes})


def query_of(tool, made):
    told = client(tool, "Ada").get(f"/projects/signs/queries/{made}").json()
    return told["text"], told["answer"]


def grades_of(bo, made):
    rows = bo.get(f"/projects/signs/queries/{made}/pool").json()
    return {row["document"]: row["grade"] for row in rows}


def test_a_query_follows_what_is_corrected_in_its_finished_entry(tool, made):
    bo = client(tool, "Bo")
    other = {**MARK, "key": "m2", "document": "d1"}
    assert change(bo, values={"question": "what reddens", "answer": "The skin."}, evidence=[MARK, other]).is_success
    assert query_of(tool, made) == ("what reddens", "The skin.")
    assert grades_of(bo, made) == {"d1": 1, "d3": 1}
    assert change(bo, evidence=[other]).is_success
    assert grades_of(bo, made) == {"d1": 1}, "a grade that only evidence gave goes with it"
    place, version = entry_of(bo)
    assert bo.post(f"{place}/undo", json={"version": version}).is_success
    assert grades_of(bo, made) == {"d1": 1, "d3": 1}


def test_a_query_that_others_judged_keeps_its_question_and_takes_the_answer(tool, made):
    bo = client(tool, "Bo")
    assert client(tool, "Cy").put(f"/projects/signs/queries/{made}/judgements/d1", json={"grade": 0}).is_success
    assert change(bo, values={"question": "what else", "answer": "The skin."}, evidence=[]).is_success
    assert query_of(tool, made) == ("what changes", "The skin.")
    assert grades_of(bo, made) == {}
    place, _ = entry_of(bo)
    assert bo.post(f"{place}/query", json={}).status_code == 403
    assert change(bo, values={"question": "what changes"}).is_success
    assert bo.post(f"{place}/query", json={}).is_success


def test_what_a_reviewer_made_of_a_query_stays(tool, made):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    place = f"/projects/signs/queries/{made}"
    assert ada.patch(place, json={"version": 1, "changes": {"split": "test"}}).is_success
    assert change(bo, values={"answer": "The skin."}).is_success
    assert query_of(tool, made) == ("what changes", "The skin."), "a split is no wording"
    assert ada.patch(place, json={"version": 3, "changes": {"text": "what changes colour"}}).is_success
    assert change(bo, values={"answer": "It."}).is_success
    assert query_of(tool, made) == ("what changes colour", "The skin.")
    told = bo.post(f"{entry_of(bo)[0]}/query", json={})
    assert (told.status_code, "changed this query since" in told.json()["title"]) == (403, True)


def test_an_empty_entry_of_ones_own_is_taken_again(tool):
    fill(tool, "qa")
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    asked = {"reuse": True, "document": "d1"}
    first = bo.post("/projects/signs/entries", json=asked).json()
    again = bo.post("/projects/signs/entries", json={**asked, "document": "d2"}).json()
    assert (first["key"], first["about"], again["about"]) == (again["key"], "d1", "d2")
    assert cy.post("/projects/signs/entries", json=asked).json()["key"] != first["key"]
    assert bo.post("/projects/signs/entries", json={"document": "d1"}).json()["key"] != first["key"]
    assert bo.post("/projects/signs/entries", json={"reuse": True, "document": "gone"}).status_code == 404
    for row in bo.get("/projects/signs/entries").json():
        body = {"version": row["version"], "changes": {"notes": "n"}}
        assert bo.patch(f"/projects/signs/entries/{row['key']}", json=body).status_code == 200
    assert len(bo.get("/projects/signs/entries").json()) == 2
    bo.post("/projects/signs/entries", json=asked)
    assert len(bo.get("/projects/signs/entries").json()) == 3
