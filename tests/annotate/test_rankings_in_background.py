"""What models take long for goes on behind the page: it is watched, stopped, goes on where it was, and is told."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from stm_agent.annotate import finding
from stm_agent.annotate.actor import Actor
from stm_agent.annotate.client import Client
from stm_agent.annotate.faults import Unencoded
from stm_agent.annotate.services import documents, encoding, projects, searching
from stm_agent.annotate.services.turns import SLICE
from stm_agent.annotate.tool import open_tool
from stm_agent.testing.annotate import client, fill, person
from stm_agent.testing.browser import serving
from stm_agent.testing.pico import pico_checkpoint
from stm_agent.testing.slow_model import SlowModel, lend

JOBS = "/projects/signs/jobs"
TURNS = encoding.PART // SLICE
"""Turns at a model in which it encodes a part."""
TINY = {"retrievers": ["tiny"], "depth": 5}
MEANT = {"q": "high temperature", "mode": "dense", "model": "tiny"}


def grow(tool, count):
    """Give the project ``count`` documents more."""
    with tool.database.writing() as session:
        row = projects.find(session, Actor(1, "Ada", "admin"), "signs")
        documents.add(session, row, ((f"m{number}", {"text": f"temperature {number}"}) for number in range(count)))


def until(who, job, fits):
    """Look at a job until it is as it should be."""
    end = time.monotonic() + 30
    while not fits(job):
        assert time.monotonic() < end, job
        time.sleep(0.01)
        job = who.get(f"{JOBS}/{job['key']}").json()
    return job


def done(who, kind, body):
    """Do a job, to the end."""
    answer = who.post(f"{JOBS}/{kind}", json=body)
    assert answer.status_code == 202, answer.text
    return until(who, answer.json(), lambda job: job["state"] == "finished")


@pytest.fixture
def ada(small):
    """The administrator of a project with three documents and two queries."""
    fill(small)
    return client(small, "Ada")


def test_a_ranking_is_watched_stopped_and_goes_on_after_a_new_start(small, ada, tmp_path):
    grow(small, 2 * encoding.PART)
    count = 2 * encoding.PART + 3
    slow = lend(small, SlowModel(may=TURNS))
    begun = ada.post(f"{JOBS}/rankings", json=TINY).json()
    assert (begun["kind"], begun["total"]) == ("rankings", count + 2 + 2), "documents, queries, their rankings"
    seen = until(ada, begun, lambda job: job["done"])
    assert (seen["done"], seen["state"], seen["result"]) == (encoding.PART, "running", {})
    ada.delete(f"{JOBS}/{seen['key']}")
    slow.may.release(TURNS)
    until(ada, seen, lambda job: job["ended"])
    assert len(slow.asked) == 2 * encoding.PART, "the part that was begun is the last"
    assert ada.get("/projects/signs/runs").json()["runs"] == []
    small.close()

    again = open_tool(tmp_path, team=True)
    fresh, ada = lend(again, SlowModel()), client(again, "Ada")
    job = done(ada, "rankings", {**TINY, "retrievers": ["tiny", "bm25", "tiny"]})
    assert (job["done"], job["failed"]) == (count + 2 + 2 + 2, 0)
    assert len(fresh.asked) == 3 + 2, "nothing is encoded twice"
    expected = {"queries": 2, "documents": 10, "unknown_queries": 0, "unknown_documents": 0, "cut": 0}
    assert job["result"]["tiny"] == expected
    assert [row["run"] for row in ada.get("/projects/signs/runs").json()["runs"]] == ["bm25", "tiny"]
    assert ada.post("/projects/signs/runs", json=TINY).json() == {"tiny": expected}, "as without a job"
    again.close()


def test_a_retriever_that_fails_is_named_and_the_others_go_on(small, ada, monkeypatch):
    grow(small, 2 * encoding.PART)
    slow = lend(small, SlowModel())
    asked = []
    monkeypatch.setattr(slow, "encode", lambda texts, prefix: [asked.append(texts), 1 / 0])
    job = done(ada, "rankings", {"retrievers": ["tiny", "bm25"]})
    assert (job["failed"], len(asked), list(job["result"])) == (1, 1, ["bm25"])
    assert job["failures"][0].startswith("tiny: ZeroDivisionError: division by zero")
    assert client(small, "Bo").post(f"{JOBS}/rankings", json=TINY).status_code == 403


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "there is no run 'gone'"),
        ("embedded:gone", "unknown asset 'gone'"),
        ("embedded:hpo", "is data, not a model"),
        ("", "there is no run ''"),
    ],
)
def test_a_model_that_does_not_exist_is_refused_at_once(ada, name, reason):
    for kind, body in (("encodings", {"model": name}), ("rankings", {"retrievers": ["bm25", name]})):
        refused = ada.post(f"{JOBS}/{kind}", json=body)
        assert refused.status_code == 404 and reason in refused.json()["title"], refused.json()
    refused = ada.post("/projects/signs/runs", json={"retrievers": ["bm25", name]})
    assert refused.status_code == 404 and ada.get("/projects/signs/runs").json()["runs"] == []


def test_a_ranking_by_nothing_is_refused_at_once(ada):
    for path in (f"{JOBS}/rankings", "/projects/signs/runs"):
        refused = ada.post(path, json={"retrievers": []})
        assert refused.status_code == 422 and refused.json()["title"].startswith(
            "name what should rank the queries: bm25"
        )


def test_a_search_by_meaning_waits_for_no_more_than_a_few_documents(small, ada, monkeypatch):
    person(small, "Re", "reviewer")
    ada.post("/projects/signs/members", json={"name": "Re"})
    ada.post("/projects/signs/documents", json={"documents": [["twin", {"text": "same"}], ["twin2", {"text": "same"}]]})
    slow, bo = lend(small, SlowModel()), client(small, "Bo")
    monkeypatch.setattr(searching, "WAITED_FOR", 1)
    refused = bo.get("/projects/signs/search", params=MEANT)
    assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
    assert refused.json()["unencoded"] == {"model": "tiny", "encoded": 0, "documents": 5}
    assert refused.json()["title"].startswith("tiny has encoded 0 of 5 documents; let a reviewer")
    assert bo.get("/projects/signs/search", params={**MEANT, "mode": "bm25"}).status_code == 200
    assert bo.post(f"{JOBS}/encodings", json={"model": "tiny"}).status_code == 403
    job = done(client(small, "Re"), "encodings", {"model": "tiny"})
    assert (job["what"], job["done"], len(slow.asked)) == ("encoding by tiny", 5, 4)
    for mode in ("dense", "both"):
        assert len(bo.get("/projects/signs/search", params={**MEANT, "mode": mode}).json()) == 5
    ada.post("/projects/signs/documents", json={"documents": [["new", {"text": "one more"}]]})
    assert len(bo.get("/projects/signs/search", params=MEANT).json()) == 6, "one is encoded at once"
    assert len([text for text in slow.asked if text != "high temperature"]) == 5


def test_a_documents_text_is_looked_up_once(small, ada, monkeypatch):
    lend(small, SlowModel())
    first = ada.get("/projects/signs/search", params=MEANT).json()
    assert len(first) == 3
    for name in ("encode", "missing"):
        monkeypatch.setattr(small.models.cache, name, lambda *_, **__: pytest.fail("the vectors are in memory"))
    assert ada.get("/projects/signs/search", params=MEANT).json() == first


def test_vectors_of_few_models_stay_in_memory():
    corpus = finding.Corpus({"d": "text"}, {"d": {}}, None)
    for name in ("a", "b", "c", "c"):
        corpus.keep(name, np.ones((1, 2), dtype=np.float32))
    assert list(corpus.vectors) == ["b", "c"]


def test_many_may_ask_a_model_for_the_same_at_once(small, ada):
    pico = pico_checkpoint(small.folder.parent / "pico", prompts={"query": "find: ", "document": ""})
    (small.runs / "pico").mkdir(parents=True)
    pico.rename(small.runs / "pico" / "model")
    found = []
    ask = {**MEANT, "model": "pico", "mode": "both"}
    many = [
        threading.Thread(target=lambda: found.append(ada.get("/projects/signs/search", params=ask).json()))
        for _ in range(8)
    ]
    for one in many:
        one.start()
    for one in many:
        one.join()
    assert found == found[:1] * 8 and {row["key"] for row in found[0]} == {"d1", "d2", "d3"}
    assert (small.models.cache.misses, len(small.models._loaded)) == (3, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_waits_for_the_vectors_and_the_ranking(tmp_path, monkeypatch):
    tool = open_tool(tmp_path)
    fill(tool)
    lend(tool, SlowModel())
    monkeypatch.setattr(searching, "WAITED_FOR", 1)
    with serving(tool) as url, Client(url.partition("/?")[0], token=tool.token) as script:
        with pytest.raises(Unencoded, match="0 of 3 documents") as wait:
            script.search("signs", "fever", mode="dense", model="tiny")
        job = script.encode_all("signs", wait.value.unencoded["model"])
        assert script.wait_job("signs", job["key"], every=0.01)["state"] == "finished"
        assert len(script.search("signs", "fever", mode="dense", model="tiny")) == 3
        job = script.rank_many("signs", ["tiny", "bm25"])
        told = script.wait_job("signs", job["key"], every=0.01)["result"]
        assert told == script.rank("signs", ["tiny", "bm25"])
    tool.close()
