"""Runs of many queries: stored, ranked, graded and removed in parts, and nobody who saves waits for all of it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import delete, func, insert, inspect, select, update

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.bringing import bring
from stm_agent.annotate.client import Client
from stm_agent.annotate.database import Database
from stm_agent.annotate.faults import NotFound
from stm_agent.annotate.services import deleting, runs
from stm_agent.annotate.tables import Document, Project, Query, Ranking
from stm_agent.annotate.tool import open_tool
from stm_agent.llm.scripted import scripted
from stm_agent.testing.annotate import client, fill
from stm_agent.testing.browser import serving

ADA = Actor(1, "Ada", "admin")
PLACE = "/projects/signs"


def grow(tool, documents, queries):
    """Give the project Signs more documents and queries, all about one word."""
    with tool.database.writing() as session:
        number = session.scalar(select(Project.id).where(Project.key == "signs"))
        whole = [
            {"key": f"m{place}", "project_id": number, "position": place + 9, "fields": {"text": f"fever {place}"}}
            for place in range(documents)
        ]
        session.execute(insert(Document), whole)
        asked = [{"key": f"n{place}", "project_id": number, "text": f"fever {place}"} for place in range(queries)]
        session.execute(insert(Query), asked)


def ranked(documents, queries):
    """Return a run that finds the first documents for each query."""
    found = {f"m{place}": float(documents - place) for place in range(documents)}
    return {f"n{place}": found for place in range(queries)}


def stored(tool):
    """Return how many rankings there are."""
    with tool.database.reading() as session:
        return session.scalar(select(func.count(Ranking.id)))


def cut_off(*_):
    """End as a server does that is killed."""
    raise KeyboardInterrupt


@pytest.fixture
def held(monkeypatch):
    """Tells how long each transaction that writes held up the others."""
    times, plain = [], Database.writing

    @contextmanager
    def writing(self):
        with plain(self) as session:
            begun = time.monotonic()
            yield session
        times.append(time.monotonic() - begun)

    monkeypatch.setattr(Database, "writing", writing)
    return times


def test_every_row_that_goes_with_another_is_found_by_an_index(tool):
    look = inspect(tool.database.engine)
    for table in look.get_table_names():
        lists = [look.get_pk_constraint(table)["constrained_columns"]]
        lists += [one["column_names"] for one in (*look.get_indexes(table), *look.get_unique_constraints(table))]
        leading = {columns[0] for columns in lists if columns}
        keys = look.get_foreign_keys(table)
        gone = {key["constrained_columns"][0] for key in keys if key["options"].get("ondelete")}
        assert gone <= leading, f"{table}: {gone - leading}"


def test_a_large_project_is_deleted_in_seconds_and_others_save_meanwhile(small, held):
    fill(small)
    grow(small, 4000, 2000)
    runs.put_run(small.database, ADA, "signs", "mine", ranked(100, 2000))
    assert stored(small) == 200_000
    held.clear()
    begun = time.monotonic()
    assert client(small, "Ada").delete(PLACE, params={"confirm": "Signs"}).status_code == 204
    assert time.monotonic() - begun < 20
    assert len(held) > 20 and max(held) < 3
    with small.database.reading() as session:
        assert [session.scalar(select(func.count(one.id))) for one in (Project, Document, Query, Ranking)] == [0] * 4


def test_a_deletion_that_was_cut_off_is_told_and_ended_by_the_same_call(tool, project, monkeypatch):
    ada = client(tool, "Ada")
    ada.post(f"{PLACE}/runs", json={"retrievers": ["bm25"]})
    assert ada.delete(PLACE, params={"confirm": "signs"}).status_code == 403
    assert client(tool, "Bo").delete(PLACE, params={"confirm": "Signs"}).status_code == 403
    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(runs, "drop", cut_off)
        deleting.delete(tool.database, ADA, "signs", confirm="Signs")
    assert ada.get("/projects").json() == []
    (left,) = ada.get("/projects", params={"archived": True}).json()
    assert (left["name"], left["tags"]) == ("Signs", ["clinic", deleting.BEGUN])
    assert ada.delete(PLACE, params={"confirm": "Signs"}).status_code == 204
    assert ada.get("/projects", params={"archived": True}).json() == [] and stored(tool) == 0


def test_a_run_is_stored_in_parts_and_replaces_one_of_its_name(tool, project, held):
    grow(tool, 120, 250)
    runs.put_run(tool.database, ADA, "signs", "mine", ranked(100, 250))
    assert stored(tool) == 25_000
    assert len(held) > 3 and max(held) < 5
    less = {**ranked(3, 120), "gone": {"m1": 1.0}, "n0": {"m1": 2.0, "gone": 1.0}}
    told = runs.put_run(tool.database, ADA, "signs", "mine", less)
    assert told == {
        "queries": 120,
        "documents": 119 * 3 + 1,
        "unknown_queries": 1,
        "unknown_documents": 1,
        "cut": 0,
    }
    assert stored(tool) == 119 * 3 + 1, "what the old run had of the other queries is gone"


def test_a_trec_run_comes_in_from_the_command_line_in_parts(tmp_path, held):
    tool = open_tool(tmp_path / "space")
    fill(tool)
    grow(tool, 10, 250)
    path = tmp_path / "mine.run"
    lines = (
        f"{query} Q0 {key} {place} {score} mine"
        for query, found in ranked(10, 250).items()
        for place, (key, score) in enumerate(found.items(), 1)
    )
    path.write_text("\n".join(lines))
    held.clear()
    told = bring(tool, "Signs", path)
    assert (told["project"], told["run"], told["documents"]) == ("Signs", "mine", 2500)
    assert len(held) == 5, "who brings it in, what there was, and three parts"
    tool.close()


def test_a_ranking_that_is_stopped_stores_no_more(small, monkeypatch):
    fill(small)
    grow(small, 5, 2 * runs.QUERIES)
    ada, go, begun = client(small, "Ada"), threading.Semaphore(1), threading.Semaphore(0)
    plain = runs.put_part

    def slow(*args):
        begun.release()
        assert go.acquire(timeout=60)
        return plain(*args)

    monkeypatch.setattr(runs, "put_part", slow)
    job = ada.post(f"{PLACE}/jobs/rankings", json={"retrievers": ["bm25"], "depth": 5}).json()
    assert job["total"] == 2 * runs.QUERIES + 2
    assert begun.acquire(timeout=60) and begun.acquire(timeout=60)
    seen = ada.get(f"{PLACE}/jobs/{job['key']}").json()
    assert (seen["done"], seen["state"]) == (runs.QUERIES, "running")
    assert ada.delete(f"{PLACE}/jobs/{job['key']}").json()["state"] == "stopped"
    go.release()
    end = time.monotonic() + 30
    while not (seen := ada.get(f"{PLACE}/jobs/{job['key']}").json())["ended"]:
        assert time.monotonic() < end
    assert (seen["state"], seen["done"], seen["result"]["bm25"]["queries"]) == ("stopped", 200, 200)
    with small.database.reading() as session:
        assert session.scalar(select(func.count(Ranking.query_id.distinct()))) <= 200


def test_a_run_is_removed_and_its_grades_stay(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    lines = "q1 Q0 d1 1 2.5 my/run\nq2 Q0 d3 1 2.5 my/run\n"
    for text in (lines, lines.replace("my/run", "other")):
        assert ada.post(f"{PLACE}/runs/trec", files={"file": ("x.run", text)}).is_success
    assert bo.put(f"{PLACE}/queries/q1/judgements/d1", json={"grade": 2}).is_success
    assert bo.delete(f"{PLACE}/runs/other").status_code == 403
    assert ada.delete(f"{PLACE}/runs/my%2Frun").status_code == 204
    assert [one["run"] for one in ada.get(f"{PLACE}/runs").json()["runs"]] == ["other"]
    assert [row["grade"] for row in bo.get(f"{PLACE}/queries/q1/pool").json()] == [2]
    refused = ada.delete(f"{PLACE}/runs/my%2Frun")
    assert refused.status_code == 404 and "no run 'my/run'" in refused.json()["title"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_removes_a_run_and_asks_what_grading_costs(tmp_path):
    tool = open_tool(tmp_path)
    fill(tool)
    with serving(tool) as url, Client(url.partition("/?")[0], token=tool.token) as script:
        script.rank("signs", ["bm25"])
        script.set_llm("script", "scripted:numbered")
        assert script.grade_many("signs", dry=True) == {"calls": 2, "model": "scripted:numbered"}
        script.delete_run("signs", "bm25")
        assert script.grade_many("signs", dry=True)["calls"] == 0
        with pytest.raises(NotFound, match="no run 'bm25'"):
            script.delete_run("signs", "bm25")
    tool.close()


def test_calls_are_counted_before_they_are_made(tool, project, tmp_path):
    ada = client(tool, "Ada")
    said = []
    tool.doors.door = lambda choice: scripted(lambda messages: said.append(messages) or "2", tmp_path)
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    lines = "".join(f"q1 Q0 d{n} {n} {9 - n} {run}\n" for run in ("one", "two") for n in (1, 2, 3))
    for run in ("one", "two"):
        text = "".join(line + "\n" for line in lines.splitlines() if line.endswith(run))
        ada.post(f"{PLACE}/runs/trec", files={"file": ("x.run", text)})

    def dry(**body):
        answer = ada.post(f"{PLACE}/jobs/grades", json={"dry": True, **body})
        return answer.status_code, answer.json()

    assert dry() == (200, {"calls": 3, "model": "scripted:numbered"}), "a passage of two runs is asked once"
    assert dry(depth=2)[1]["calls"] == 2
    assert (dry(queries=["q2"])[1]["calls"], dry(queries=["q1", "q1"])[1]["calls"]) == (0, 3)
    assert dry(queries=["gone"])[0] == 404
    assert ada.get(f"{PLACE}/jobs").json() == [] and said == []
    assert ada.post(f"{PLACE}/queries/q1/llm-grades", json={"depth": 1}).json()["graded"] == 1
    assert dry()[1]["calls"] == 2


def test_what_goes_while_pools_are_graded_is_not_waited_for(small, tmp_path):
    fill(small)
    ada = client(small, "Ada")
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    text = "".join(f"q{query} Q0 d{n} {n} {9 - n} mine\n" for query in (1, 2) for n in (1, 2, 3))
    ada.post(f"{PLACE}/runs/trec", files={"file": ("x.run", text)})

    def answer(messages):
        with small.database.writing() as session:
            session.execute(delete(Query).where(Query.key == "q2"))
        return "2"

    small.doors.door = lambda choice: scripted(answer, tmp_path)
    job = ada.post(f"{PLACE}/jobs/grades", json={}).json()
    assert job["total"] == 6
    end = time.monotonic() + 30
    while (job := ada.get(f"{PLACE}/jobs/{job['key']}").json())["state"] == "running":
        assert time.monotonic() < end
    assert (job["state"], job["total"], job["done"], job["failed"]) == ("finished", 3, 3, 0)


def test_an_archived_project_keeps_its_runs_and_nothing_is_begun_for_it(tool, project, tmp_path):
    ada, said = client(tool, "Ada"), []
    runs.put_run(tool.database, ADA, "signs", "mine", {"q1": {"d1": 1.0}})
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    tool.doors.door = lambda choice: scripted(lambda messages: said.append(messages) or "2", tmp_path)
    with tool.database.writing() as session:
        session.execute(update(Project).values(archived=True))
    for path in (f"{PLACE}/runs", f"{PLACE}/jobs/rankings"):
        assert ada.post(path, json={"retrievers": ["bm25"]}).status_code == 403
    assert ada.post(f"{PLACE}/jobs/grades", json={}).status_code == 403
    assert ada.delete(f"{PLACE}/runs/mine").status_code == 403
    assert (stored(tool), said) == (1, [])
