"""LLM calls of annotators are counted before they are made, and stay under their project's ceilings."""

from __future__ import annotations

import threading

import pytest

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.services import drafts, projects
from stm_agent.annotate.services.ceilings import spent
from stm_agent.annotate.services.hearing import Ask
from stm_agent.llm.answer import Answer
from stm_agent.llm.facts import ModelFacts
from stm_agent.llm.scripted import scripted
from stm_agent.testing.annotate import client, ended, fill

JOBS = "/projects/signs/jobs/drafts"


@pytest.fixture
def asked():
    """What the LLM was asked, one chat a call."""
    return []


@pytest.fixture
def team(small, tmp_path, asked):
    """Project Signs, whose answers cost a dollar each."""
    fill(small, "qa")
    ada = client(small, "Ada")
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    now = ada.get("/projects/signs").json()
    now["schema"]["blocks"][1] |= {"inputs": [], "mode": "solo"}
    ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": now["schema"]}})
    lend(small, tmp_path, asked)
    return small


def lend(tool, folder, asked, **more):
    door = scripted(lambda chat: asked.append(chat) or Answer("an answer", 10, 10, 1.0), folder / "llm", **more)
    tool.doors.door = lambda choice: door


def limit(tool, **ceilings):
    ada = client(tool, "Ada")
    version = ada.get("/projects/signs").json()["version"]
    answer = ada.patch("/projects/signs", json={"version": version, "changes": ceilings})
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in ceilings} == ceilings


def draft(who):
    entry = who.post("/projects/signs/entries").json()["key"]
    return who.post(f"/projects/signs/entries/{entry}/drafts", json={"block": "answer"})


def test_a_draft_beyond_the_ceiling_of_calls_is_not_asked_for(team, asked):
    bo, cy, ada = (client(team, name) for name in ("Bo", "Cy", "Ada"))
    limit(team, llm_calls=2)
    assert [draft(bo).status_code, draft(cy).status_code] == [200, 200]
    refused = draft(bo)
    assert (refused.status_code, len(asked)) == (403, 2)
    assert "2 LLM calls are used up" in refused.json()["title"]
    assert draft(ada).status_code == 200, "an administrator's calls are not limited"
    limit(team, llm_calls=None)
    assert draft(bo).status_code == 200


def test_a_batch_says_its_calls_first_and_is_refused_whole(team, asked):
    bo = client(team, "Bo")
    limit(team, llm_calls=2)
    body = {"block": "answer", "documents": ["d1", "d2", "d3"]}
    counted = bo.post(JOBS, json={**body, "dry": True})
    told = {"calls": 3, "model": "scripted:numbered", "left": 2, "skipped": 0}
    assert (counted.status_code, counted.json()) == (200, told)
    refused = bo.post(JOBS, json=body)
    assert (refused.status_code, asked) == (403, [])
    assert "3 calls of scripted:numbered, and 2 of the project's 2" in refused.json()["title"]
    job = ended(bo, bo.post(JOBS, json={**body, "documents": ["d1", "d2"]}).json())
    assert (job["done"], job["failed"]) == (2, 0)
    assert bo.post(JOBS, json={**body, "dry": True}).json() == {**told, "calls": 1, "left": 0, "skipped": 2}


def test_calls_at_the_same_moment_are_counted_before_they_end(team, tmp_path):
    bo = client(team, "Bo")
    limit(team, llm_calls=1)
    begun, go_on = threading.Event(), threading.Event()
    door = scripted(lambda chat: begun.set() or f"{go_on.wait(30)}", tmp_path / "slow")
    team.doors.door = lambda choice: door
    answers = []
    first = threading.Thread(target=lambda: answers.append(draft(bo)))
    first.start()
    assert begun.wait(30)
    assert draft(client(team, "Cy")).status_code == 403
    go_on.set()
    first.join(30)
    assert answers[0].status_code == 200


def test_dollars_are_counted_with_the_most_that_a_call_can_cost(team, tmp_path, asked):
    bo = client(team, "Bo")
    lend(team, tmp_path, asked, facts=ModelFacts(price=(0.0, 0.001)))
    limit(team, llm_usd=0.6)
    assert draft(bo).status_code == 200, "512 tokens of 0.001 USD at most"
    refused = draft(bo)
    assert (refused.status_code, len(asked)) == (403, 1)
    assert "ceiling of 0.6 USD" in refused.json()["title"]


def test_a_model_of_unknown_price_is_refused_under_a_ceiling_of_dollars(team, tmp_path, asked):
    bo = client(team, "Bo")
    lend(team, tmp_path, asked, facts=ModelFacts(priced=False))
    assert draft(bo).status_code == 200
    limit(team, llm_usd=5)
    assert "price of scripted:numbered is unknown" in draft(bo).json()["title"]
    assert len(asked) == 1


@pytest.mark.parametrize("ceilings", [{"llm_calls": -1}, {"llm_calls": 1.5}, {"llm_usd": "x"}, {"llm_usd": True}])
def test_a_ceiling_is_a_number_from_zero(team, ceilings):
    ada = client(team, "Ada")
    version = ada.get("/projects/signs").json()["version"]
    assert ada.patch("/projects/signs", json={"version": version, "changes": ceilings}).status_code == 422
    bo = client(team, "Bo")
    assert bo.patch("/projects/signs", json={"version": version, "changes": {"llm_calls": None}}).status_code == 403


def test_a_draft_that_was_stopped_counts_in_dollars_and_is_no_sample(team, tmp_path, asked):
    lend(team, tmp_path, asked, facts=ModelFacts(price=(0.0, 0.001)))
    bo = Actor(2, "Bo", "annotator")
    with team.database.writing() as session:
        project = projects.find(session, bo, "signs")
        block = drafts.block_of(projects.read_schema(project.schema), "answer")
        chat = [{"role": "user", "content": "Why?"}]
        ask = Ask("an entry", block, "scripted:numbered", chat, 0)
        hearing = ask.of(team.doors.door(None))
        assert hearing.next()
        kept = drafts.keep(session, bo, project, ask, hearing.leave())
        assert kept.state == "stopped"
        assert spent(session, project).usd == kept.usd > 0
        assert drafts.next_rollout(session, project, "an entry", block, chat) == 0
        untouched = ask.of(team.doors.door(None)).leave()
        assert drafts.keep(session, bo, project, ask, untouched).usd is None, "nobody was asked"
