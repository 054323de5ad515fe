"""Two who write at the same moment, on both databases: the second waits, and sees what the first did."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from stm_agent.annotate import doubting
from stm_agent.annotate.actor import Actor
from stm_agent.annotate.services import entries, gathering, people, projects
from stm_agent.annotate.tables import Doubt
from stm_agent.mine.reviewed import refused
from stm_agent.testing.annotate import client, fill, person

WAIT = 0.5
"""Seconds in which the second has come to where it has to wait."""


def beside(act: Callable[[], Any]) -> Callable[[], Any]:
    """Begin something in a thread; what is returned waits for it and gives its result."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(act()), daemon=True)
    thread.start()
    time.sleep(WAIT)
    assert not found, "it waits"

    def end() -> Any:
        thread.join(30)
        return found[0]

    return end


@pytest.fixture
def begun(tool):
    """Ada's and Bo's clients, and a new entry of Bo's in a project of questions."""
    fill(tool, "qa")
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    return ada, bo, bo.post("/projects/signs/entries").json()["key"]


def actor(tool, name: str) -> Actor:
    with tool.database.reading() as session:
        return people.actor_of(people.named(session, name))


def test_who_edits_the_schema_waits_for_who_saves_and_takes_what_they_saved_along(tool, begun):
    ada, bo, key = begun
    now = ada.get("/projects/signs").json()
    schema = {**now["schema"], "blocks": [one for one in now["schema"]["blocks"] if one["id"] != "answer"]}
    with tool.database.writing() as session:
        project = projects.find(session, actor(tool, "Bo"), "signs")
        entry = entries.find(session, actor(tool, "Bo"), project, key)
        edited = beside(
            lambda: ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": schema}})
        )
        changes = {"values": {"question": "what?", "answer": "that"}}
        entries.save(session, actor(tool, "Bo"), project, entry, changes, version=1)
    assert edited().status_code == 200, edited().text
    found = bo.get(f"/projects/signs/entries/{key}").json()
    assert (found["values"], found["migrated"]) == ({"question": "what?"}, {"answer": "that"})


def test_who_saves_waits_for_who_edits_the_schema_and_sees_the_new_one(tool, begun):
    ada, bo, key = begun
    now = ada.get("/projects/signs").json()
    schema = {**now["schema"], "blocks": [one for one in now["schema"]["blocks"] if one["id"] != "answer"]}
    who = actor(tool, "Ada")
    with tool.database.writing() as session:
        project = projects.find(session, who, "signs", also_archived=True)
        projects.edit(session, who, project, {"schema": schema}, version=now["version"])
        body = {"version": 1, "changes": {"values": {"answer": "that"}}}
        saved = beside(lambda: bo.patch(f"/projects/signs/entries/{key}", json=body))
    assert saved().status_code == 422 and "no block 'answer'" in saved().json()["title"]
    assert bo.get(f"/projects/signs/entries/{key}").json()["values"] == {}


def test_an_entry_whose_query_is_asked_for_twice_at_once_makes_one(tool, begun):
    ada, bo, key = begun
    changes = {"values": {"question": "what?", "answer": "that"}, "state": "done"}
    assert bo.patch(f"/projects/signs/entries/{key}", json={"version": 1, "changes": changes}).status_code == 200
    before = len(ada.get("/projects/signs/queries").json())
    who = actor(tool, "Bo")
    with tool.database.writing() as session:
        project = projects.find(session, who, "signs")
        made = gathering.of_entry(session, who, project, entries.find(session, who, project, key)).key
        again = beside(lambda: bo.post(f"/projects/signs/entries/{key}/query", json={"split": "dev"}))
    assert again().json()["key"] == made
    assert len(ada.get("/projects/signs/queries").json()) == before + 1


def test_answers_to_two_negatives_at_once_both_reach_the_loop(tool, begun):
    _, bo, _ = begun
    who = actor(tool, "Ada")
    with tool.database.writing() as session:
        project = projects.find(session, who, "signs")
        rows = [
            Doubt(project_id=project.id, query="q", positive="p", negative=text, origin="bm25") for text in ("m", "n")
        ]
        session.add_all(rows)
        session.flush()
        first, second = (row.key for row in rows)
    body = {"answer": "broken", "version": 1}
    with tool.database.writing() as session:
        project = projects.find(session, who, "signs")
        doubting.answer(session, who, project, first, "false_negative", version=1)
        doubting.send_back(session, project, tool.folder.parent)
        other = beside(lambda: bo.put(f"/projects/signs/doubts/{second}", json=body))
    assert other().status_code == 200
    assert refused(tool.folder.parent) == {("q", "m"), ("q", "n")}


def test_two_administrators_do_not_take_each_others_role(tool, begun):
    ada, _, _ = begun
    eve = person(tool, "Eve", "admin")
    body = {"version": 1, "role": "annotator"}
    with tool.database.writing() as session:
        people.change(session, eve, "Ada", version=1, role="annotator")
        other = beside(lambda: ada.patch("/people/Eve", json=body))
    assert other().status_code in (401, 403, 422), other().text
    with tool.database.reading() as session:
        assert [one["name"] for one in people.listed(session, eve) if one["role"] == "admin"] == ["Eve"]
