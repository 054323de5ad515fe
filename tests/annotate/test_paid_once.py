"""What an LLM is paid for is kept, and what could not be kept is not asked: archives, jobs that stop, equal prompts."""

from __future__ import annotations

import threading
import time

import pytest

from stm_agent.annotate.jobs import Job, Jobs
from stm_agent.llm.scripted import scripted
from stm_agent.testing.annotate import client, ended, fill

JOBS = "/projects/signs/jobs"


class Llm:
    """Says what it is told to by ``say``; counts its calls, and waits before each for ``free``."""

    def __init__(self) -> None:
        self.calls, self.free, self.say = 0, threading.Event(), "2"
        self.free.set()

    def __call__(self, _messages: object) -> str:
        self.calls += 1
        assert self.free.wait(30)
        return self.say


@pytest.fixture
def llm(small, tmp_path) -> Llm:
    """An LLM of a question-answering project whose answers it writes alone, and of its pools."""
    fill(small, "qa")
    ada = client(small, "Ada")
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    ada.post("/projects/signs/runs", json={"retrievers": ["bm25"]})
    made = Llm()
    door = scripted(made, tmp_path / "llm")
    small.doors.door = lambda choice: door
    now = ada.get("/projects/signs").json()
    now["schema"]["blocks"][1] |= {"inputs": [], "mode": "solo", "prompt": "Write an answer."}
    told = ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": now["schema"]}})
    assert told.status_code == 200, told.text
    return made


def archive(ada, yes=True):
    version = ada.get("/projects/signs").json()["version"]
    assert ada.patch("/projects/signs", json={"version": version, "changes": {"archived": yes}}).status_code == 200


def test_an_archived_project_asks_no_llm(small, llm):
    ada, bo = client(small, "Ada"), client(small, "Bo")
    entry = bo.post("/projects/signs/entries").json()["key"]
    archive(ada)
    for who, path, body in (
        (bo, f"/projects/signs/entries/{entry}/drafts", {"block": "answer"}),
        (bo, f"{JOBS}/drafts", {"block": "answer"}),
        (ada, f"{JOBS}/grades", {}),
        (ada, "/projects/signs/queries/q1/llm-grades", {}),
    ):
        answer = who.post(path, json=body)
        assert answer.status_code == 403 and "archived" in answer.json()["title"], path
    assert ada.post(f"{JOBS}/grades", json={"dry": True}).status_code == 200
    assert llm.calls == 0


@pytest.mark.parametrize(("what", "body"), [("drafts", {"block": "answer"}), ("grades", {})])
def test_a_job_asks_no_more_once_its_project_is_archived(small, llm, what, body):
    ada = client(small, "Ada")
    llm.free.clear()
    job = ada.post(f"{JOBS}/{what}", json=body).json()
    while not llm.calls:
        time.sleep(0.01)
    archive(ada)
    llm.free.set()
    job = ended(ada, job)
    assert job["total"] > 1 and job["failed"] == job["total"]
    assert llm.calls == 1, "what was on its way"


def test_a_stopped_job_is_not_begun_again_while_it_is_at_its_last_piece(small, llm):
    bo = client(small, "Bo")
    llm.free.clear()
    job = bo.post(f"{JOBS}/drafts", json={"block": "answer"}).json()
    while not llm.calls:
        time.sleep(0.01)
    assert bo.delete(f"{JOBS}/{job['key']}").json()["state"] == "stopped"
    again = bo.post(f"{JOBS}/drafts", json={"block": "answer"})
    assert again.status_code == 429 and "is already running" in again.json()["title"]
    llm.free.set()
    while not (whole := bo.get(f"{JOBS}/{job['key']}").json())["ended"]:
        time.sleep(0.01)
    assert whole["done"] == 1
    second = ended(bo, bo.post(f"{JOBS}/drafts", json={"block": "answer"}).json())
    assert (second["total"], second["skipped"]) == (2, 1)
    assert len(bo.get("/projects/signs/entries").json()) == 3, "one for each document"


def test_what_is_graded_for_all_is_not_graded_twice_at_once():
    jobs, free = Jobs(), threading.Event()

    def begin(kind, owner):
        return jobs.start(Job("p", owner, kind, f"{kind} of p", 1), [1], lambda _item, _stopped: free.wait(30) and {})

    begin("grades", "Ada"), begin("drafts", "Ada")
    with pytest.raises(Exception, match="is already running"):
        begin("grades", "Eve")
    begin("drafts", "Eve")
    free.set()


def test_others_are_not_told_what_a_job_made(small, llm):
    llm.say = "none of the grades"
    ada, cy = client(small, "Ada"), client(small, "Cy")
    job = ended(ada, ada.post(f"{JOBS}/grades", json={}).json())
    assert "none of the grades" in job["failures"][0]
    seen = cy.get(f"{JOBS}/{job['key']}").json()
    assert (seen["failures"], seen["result"], seen["failed"]) == ([], {}, job["failed"])


def test_the_same_prompt_for_many_documents_is_asked_for_each_and_anew_where_chance_has_a_part(small, llm):
    bo = client(small, "Bo")
    assert ended(bo, bo.post(f"{JOBS}/drafts", json={"block": "answer"}).json())["failed"] == 0
    assert llm.calls == 3
    ended(client(small, "Cy"), client(small, "Cy").post(f"{JOBS}/drafts", json={"block": "answer"}).json())
    assert llm.calls == 6


def test_without_chance_the_same_prompt_is_paid_once(small, llm):
    ada, bo = client(small, "Ada"), client(small, "Bo")
    now = ada.get("/projects/signs").json()
    now["schema"]["blocks"][1]["temperature"] = 0.0
    ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": now["schema"]}})
    assert ended(bo, bo.post(f"{JOBS}/drafts", json={"block": "answer"}).json())["failed"] == 0
    assert llm.calls == 1
