"""Drafts by the dozen: for documents or in entries, never twice, and whose jobs they are."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from stm_agent.annotate.tool import Tool
from stm_agent.llm.scripted import scripted
from stm_agent.testing.annotate import client, ended, fill, person

JOBS = "/projects/signs/jobs"


def batch(who: Any, **body: object) -> dict[str, Any]:
    """Draft many, to the end."""
    answer = who.post(f"{JOBS}/drafts", json=body)
    assert answer.status_code == 202, answer.text
    return ended(who, answer.json())


def asked(who: Any, question: str | None) -> str:
    """Begin an entry with evidence, and a question if there is one."""
    entry = who.post("/projects/signs/entries").json()["key"]
    mark = {"document": "d1", "field": "text", "start": 2, "end": 8, "level": "relevant"}
    changes = {"values": {"question": question} if question else {}, "evidence": [mark]}
    assert who.patch(f"/projects/signs/entries/{entry}", json={"version": 1, "changes": changes}).status_code == 200
    return entry


@pytest.fixture
def begun(tool: Tool, tmp_path) -> Tool:
    """A question-answering project and an LLM by script."""
    fill(tool, "qa")
    client(tool, "Ada").put("/llms", json={"name": "script", "model": "scripted:numbered"})
    door = scripted(lambda messages: "An answer [d1].", tmp_path / "llm")
    tool.doors.door = lambda choice: door
    return tool


def test_a_block_that_needs_others_is_drafted_in_the_entries_that_have_them_and_never_twice(begun):
    bo, cy = client(begun, "Bo"), client(begun, "Cy")
    first, second, bare, theirs = asked(bo, "one?"), asked(bo, "two?"), asked(bo, None), asked(cy, "three?")
    job = batch(bo, block="answer", entries="draft")
    assert (job["total"], job["failed"], job["skipped"]) == (3, 1, 0)
    assert "needs 'Question' first" in job["failures"][0] and bare in job["failures"][0]
    for entry in (first, second):
        (draft,) = bo.get("/projects/signs/drafts", params={"entry": entry}).json()
        assert (draft["state"], draft["asked_by"]) == ("offered", "Bo")
    assert len(bo.get("/projects/signs/entries").json()) == 3, "no entry is begun for it"
    again = batch(bo, block="answer", entries="draft")
    assert (again["total"], again["skipped"]) == (1, 2)
    named = batch(bo, block="answer", entries=[first, first])
    assert (named["total"], named["skipped"]) == (0, 1)
    assert bo.post(f"{JOBS}/drafts", json={"block": "answer", "entries": [theirs]}).status_code == 404
    assert client(begun, "Ada").post(f"{JOBS}/drafts", json={"block": "answer", "entries": [theirs]}).status_code == 403


def test_a_document_that_was_drafted_for_is_left_out(begun):
    ada, bo = client(begun, "Ada"), client(begun, "Bo")
    now = ada.get("/projects/signs").json()
    now["schema"]["blocks"][1] |= {"inputs": [], "mode": "solo"}
    ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": now["schema"]}})
    assert batch(bo, block="answer", documents=["d1", "d1"])["total"] == 1
    job = batch(bo, block="answer")
    assert (job["total"], job["skipped"]) == (2, 1)
    assert sorted(row["about"] for row in bo.get("/projects/signs/entries").json()) == ["d1", "d2", "d3"]
    assert batch(client(begun, "Cy"), block="answer")["total"] == 3, "what one person has, another has not"


@pytest.mark.parametrize(
    "body", [{"limit": 501}, {"limit": 0}, {"limit": 10**30}, {"entries": "all"}, {"entries": [], "documents": ["d1"]}]
)
def test_a_batch_that_cannot_be_is_refused(small, body):
    fill(small, "qa")
    answer = client(small, "Bo").post(f"{JOBS}/drafts", json={"block": "answer", **body})
    assert answer.status_code == 422, answer.text


def test_a_job_is_its_owners_or_an_administrators_to_stop_and_is_not_begun_twice(small, tmp_path):
    fill(small, "qa")
    ada, bo, cy = (client(small, name) for name in ("Ada", "Bo", "Cy"))
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    free = threading.Event()
    door = scripted(lambda messages: str(free.wait(30)), tmp_path / "llm")
    small.doors.door = lambda choice: door
    entries = [asked(bo, "one?"), asked(bo, "two?")]
    job = bo.post(f"{JOBS}/drafts", json={"block": "answer", "entries": entries}).json()
    assert job["stoppable"] and not cy.get(f"{JOBS}/{job['key']}").json()["stoppable"]
    refused = cy.delete(f"{JOBS}/{job['key']}")
    assert refused.status_code == 403 and "Bo's" in refused.json()["title"]
    again = bo.post(f"{JOBS}/drafts", json={"block": "answer", "entries": entries})
    assert again.status_code == 429 and "is already running" in again.json()["title"]
    assert ada.delete(f"{JOBS}/{job['key']}").json()["state"] == "stopped"
    free.set()


def test_a_reviewers_draft_leaves_the_authors_waiting(begun):
    person(begun, "Re", "reviewer")
    client(begun, "Ada").post("/projects/signs/members", json={"name": "Re"})
    bo, re = client(begun, "Bo"), client(begun, "Re")
    entry = asked(bo, "one?")
    for who in (bo, re, re):
        who.post(f"/projects/signs/entries/{entry}/drafts", json={"block": "answer"})
    rows = bo.get("/projects/signs/drafts", params={"entry": entry}).json()
    assert [(row["asked_by"], row["state"]) for row in rows] == [
        ("Bo", "offered"),
        ("Re", "superseded"),
        ("Re", "offered"),
    ]


def test_a_wrong_old_password_is_counted_and_checked_while_others_save(small, monkeypatch):
    from stm_agent.annotate.services import people

    fill(small)
    bo, cy = client(small, "Bo"), client(small, "Cy")
    hashing = people.hashed
    monkeypatch.setattr(people, "hashed", lambda password: [cy.post("/projects/signs/entries"), hashing(password)][1])
    assert bo.put("/me/password", json={"old": "password-of-Bo", "new": "another-password"}).status_code == 204, (
        "somebody saves meanwhile"
    )
    codes = [
        bo.put("/me/password", json={"old": f"wrong-{number}", "new": "x" * 12}).status_code for number in range(7)
    ]
    assert codes[:5] == [403] * 5 and set(codes[5:]) == {429}
    assert bo.put("/me/password", json={"old": "another-password", "new": "x" * 12}).status_code == 429


def test_an_llm_that_somebody_changed_is_not_written_over(tool):
    fill(tool)
    ada = client(tool, "Ada")
    llm = {"name": "script", "model": "scripted:numbered"}
    assert ada.put("/llms", json=llm).json()["version"] == 1
    assert ada.put("/llms", json={**llm, "system_prompt": "a", "version": 1}).json()["version"] == 2
    stale = ada.put("/llms", json={**llm, "system_prompt": "b", "version": 1})
    assert stale.status_code == 409 and stale.json()["current"]["system_prompt"] == "a"
    assert ada.put("/llms", json={**llm, "system_prompt": "c"}).status_code == 409, "a new one of a name that is there"
