"""Whoever still judges what was dealt to them sees no measure made of others' grades."""

from __future__ import annotations

import pytest

from stm_agent.testing.annotate import client, fill, person

MEASURES = ("agreement", "agreement?format=csv", "export/qrels", "export/archive")


@pytest.fixture
def people(small):
    """Ada administers, Bo, Cy and the reviewer Rex judge; Ada and Bo have graded, and nothing is dealt yet."""
    fill(small)
    person(small, "Rex", "reviewer")
    ada, bo = client(small, "Ada"), client(small, "Bo")
    ada.post("/projects/signs/members", json={"name": "Rex"})
    ada.post("/projects/signs/runs", json={"retrievers": ["bm25"]})
    for one in (ada, bo):
        assert one.put("/projects/signs/queries/q1/judgements/d1", json={"grade": 1}).status_code == 200
    return ada, bo, client(small, "Rex")


def seen(one):
    """Return nDCG of the run, judgements of the first query, and the status of each measure."""
    (run,) = one.get("/projects/signs/runs").json()["runs"]
    counts = [query["judgements"] for query in one.get("/projects/signs/queries").json()]
    return run["ndcg_at_10"], counts[0], {one.get(f"/projects/signs/{name}").status_code for name in MEASURES}


def test_where_nothing_is_dealt_measures_are_open(people):
    ada, bo, rex = people
    for one, status in ((ada, 200), (rex, 200), (bo, 403)):
        ndcg, count, statuses = seen(one)
        assert (ndcg is not None, count, statuses) == (True, 2, {status})


def test_what_was_dealt_closes_them_until_it_is_done(people):
    ada, bo, rex = people
    version = ada.get("/projects/signs").json()["version"]
    ada.patch("/projects/signs", json={"version": version, "changes": {"overlap": 3}})
    assert ada.post("/projects/signs/deal").json()["dealt"] > 0
    assert (seen(bo)[:2], seen(rex)) == ((None, 1), (None, 0, {403}))
    assert seen(ada)[1:] == (2, {200}), "administrators see them always"
    refused = rex.get("/projects/signs/agreement").json()
    assert "finish the queries assigned to you" in refused["title"] + refused.get("detail", "")
    for query in rex.get("/projects/signs/work").json():
        rex.put(f"/projects/signs/queries/{query['key']}/done", json={"done": True})
    ndcg, count, statuses = seen(rex)
    assert (ndcg is not None, count, statuses) == (True, 2, {200})


def test_whose_grades_are_waited_for_sees_no_llms_grades_and_settles_nothing(people):
    ada, _, rex = people
    final = {"grade": 0, "version": 0}
    assert rex.put("/projects/signs/queries/q1/final/d1", json=final).status_code == 200
    ada.post("/projects/signs/deal", json={"people": ["Rex"], "each": 1}).raise_for_status()
    assert "q1" in [query["key"] for query in rex.get("/projects/signs/work").json() if not query["done"]]
    assert rex.get("/projects/signs/drafts").status_code == 403
    for body in ({"grade": 1, "version": 1}, {"grade": 1, "version": 7}, {"grade": None, "version": 1}):
        refused = rex.put("/projects/signs/queries/q1/final/d1", json=body)
        assert refused.status_code == 403 and "current" not in refused.json()
    rex.put("/projects/signs/queries/q1/done", json={"done": True})
    assert rex.put("/projects/signs/queries/q1/final/d1", json={"grade": 1, "version": 1}).status_code == 200


def test_another_projects_work_closes_nothing(people):
    ada, _, rex = people
    made = ada.post("/projects", json={"name": "Other", "template": "judging"}).json()["key"]
    ada.post(f"/projects/{made}/members", json={"name": "Rex"})
    ada.post(f"/projects/{made}/queries", json={"text": "a query"})
    assert ada.post(f"/projects/{made}/deal").json()["dealt"] == 1
    assert seen(rex)[1:] == (2, {200})
