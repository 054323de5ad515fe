"""Judging in a team: dealt or not, blind while it matters, settled once, and nothing that people said lost."""

from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import select

from stm_agent.annotate.tables import Change, Judgement
from stm_agent.llm.scripted import scripted
from stm_agent.testing.annotate import client, fill, person

PLACE = "/projects/signs"


def problem(answer, status):
    assert answer.status_code == status, answer.text
    return answer.json()["title"]


def settings(ada, **changes):
    version = ada.get(PLACE).json()["version"]
    answer = ada.patch(PLACE, json={"version": version, "changes": changes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def grade(who, document, value, *, query="q1", version=0):
    answer = who.put(f"{PLACE}/queries/{query}/judgements/{document}", json={"grade": value, "version": version})
    assert answer.status_code == 200, answer.text
    return answer.json()


def done(who, query="q1", **more):
    answer = who.put(f"{PLACE}/queries/{query}/done", json=more)
    assert answer.status_code == 204, answer.text


def changes(tool, kind):
    with tool.database.reading() as session:
        return [
            (row.before, row.after)
            for row in session.scalars(select(Change).where(Change.kind == kind).order_by(Change.id))
        ]


def test_where_nothing_was_dealt_all_queries_stay_everybodys(tool, project):
    ada, bo, cy = (client(tool, name) for name in ("Ada", "Bo", "Cy"))
    done(cy)
    assert [row["key"] for row in bo.get(f"{PLACE}/work").json()] == ["q1", "q2"]
    assert [(row["key"], row["done"]) for row in cy.get(f"{PLACE}/work").json()] == [("q2", False), ("q1", True)]
    told = {row["name"]: (row["done"], row["given"]) for row in ada.get(f"{PLACE}/progress").json()}
    assert told == {"Ada": (0, 2), "Bo": (0, 2), "Cy": (1, 2)}
    ada.delete(f"{PLACE}/members/Ada")
    assert ada.post(f"{PLACE}/deal").json() == {"dealt": 1, "of": 2}, "Cy has judged the one"
    assert [row["key"] for row in bo.get(f"{PLACE}/work").json()] == ["q2"]


def test_what_somebody_shut_out_left_open_is_dealt_again(tool, project):
    ada, cy = client(tool, "Ada"), client(tool, "Cy")
    ada.delete(f"{PLACE}/members/Ada")
    assert ada.post(f"{PLACE}/deal").json() == {"dealt": 2, "of": 2}
    (open_one,) = cy.get(f"{PLACE}/work").json()
    ada.patch("/people/Bo", json={"version": 1, "active": False})
    assert ada.post(f"{PLACE}/deal").json() == {"dealt": 1, "of": 2}
    assert len(cy.get(f"{PLACE}/work").json()) == 2
    done(cy, open_one["key"])
    assert ada.post(f"{PLACE}/deal").json() == {"dealt": 0, "of": 2}, "what is done stays done"


def finished(who, marks, **values):
    """Begin an entry with evidence and finish it; return its place and its version."""
    entry = who.post(f"{PLACE}/entries").json()
    place = f"{PLACE}/entries/{entry['key']}"
    evidence = [{"document": key, "field": "text", "start": 0, "end": 5, "level": level} for key, level in marks]
    parts = {"values": {"question": "what is fever?", "answer": "a sign", **values}, "evidence": evidence}
    saved = who.patch(place, json={"version": 1, "changes": {**parts, "state": "done"}})
    assert saved.status_code == 200, saved.text
    return place, saved.json()["version"]


def pool(who, query):
    return {row["document"]: row for row in who.get(f"{PLACE}/queries/{query}/pool").json()}


@pytest.fixture
def asked(tool):
    fill(tool, "qa")
    return tool


def test_evidence_of_a_level_that_is_gone_judges_nothing(asked):
    ada, bo = client(asked, "Ada"), client(asked, "Bo")
    place, _ = finished(bo, [("d1", "relevant"), ("d2", "irrelevant")])
    schema = ada.get(PLACE).json()["schema"]
    schema["levels"] = [level for level in schema["levels"] if level["id"] != "irrelevant"]
    for block in schema["blocks"]:
        block["inputs"] = [one for one in block["inputs"] if one["ref"] != "irrelevant"]
    settings(ada, schema=schema)
    query = bo.post(f"{place}/query", json={}).json()["key"]
    assert {key: row["grade"] for key, row in pool(bo, query).items()} == {"d1": 1}


def test_an_entry_finished_again_leaves_what_was_graded_by_hand(asked):
    bo, cy = client(asked, "Bo"), client(asked, "Cy")
    place, version = finished(bo, [("d1", "relevant"), ("d2", "irrelevant"), ("d3", "relevant")])
    query = bo.post(f"{place}/query", json={}).json()["key"]
    assert changes(asked, "judgement.evidence")[0] == (None, {"grade": 1, "note": ""})
    grade(bo, "d1", 0, query=query, version=1)
    grade(bo, "d3", None, query=query, version=1)
    evidence = bo.get(place).json()["evidence"]
    evidence[1]["level"] = "relevant"
    saved = bo.patch(place, json={"version": version, "changes": {"evidence": evidence}}).json()
    assert bo.post(f"{place}/query", json={}).status_code == 201
    assert {key: row["grade"] for key, row in pool(bo, query).items()} == {"d1": 0, "d2": 1}
    assert changes(asked, "judgement.evidence")[-1] == ({"grade": 0, "note": ""}, {"grade": 1, "note": ""})
    grade(cy, "d2", 0, query=query)
    done(bo, query)
    evidence[1]["level"] = "irrelevant"
    saved = bo.patch(place, json={"version": saved["version"], "changes": {"evidence": evidence}}).json()
    assert "you have finished" in problem(bo.post(f"{place}/query", json={}), 422), "Bo has seen what Cy said"
    assert pool(bo, query)["d2"]["grade"] == 1


def test_only_its_author_or_an_administrator_makes_an_entrys_query(asked):
    person(asked, "Ruth", "reviewer")
    ada, bo, ruth = (client(asked, name) for name in ("Ada", "Bo", "Ruth"))
    ada.post(f"{PLACE}/members", json={"name": "Ruth"})
    place, _ = finished(bo, [("d1", "relevant")])
    assert "belongs to somebody else" in problem(ruth.post(f"{place}/query", json={}), 403)
    query = ada.post(f"{place}/query", json={}).json()["key"]
    assert pool(bo, query)["d1"]["grade"] == 1
    assert pool(ada, query) == {}


def test_what_others_judged_is_reworded_and_deleted_by_those_who_answer_for_it(tool, project):
    ada, bo, cy = (client(tool, name) for name in ("Ada", "Bo", "Cy"))
    key = bo.post(f"{PLACE}/queries", json={"text": "mistaken"}).json()["key"]
    place = f"{PLACE}/queries/{key}"
    body = {"version": 1, "changes": {"text": "another"}}
    grade(bo, "d1", 1, query=key)
    assert "somebody else wrote" in problem(cy.delete(place), 403)
    grade(cy, "d1", 2, query=key)
    assert "ask a reviewer" in problem(bo.patch(place, json=body), 403)
    assert "ask an administrator" in problem(bo.delete(place), 403)
    assert ada.patch(place, json=body).status_code == 200
    assert ada.delete(place).status_code == 204
    problem(bo.get(f"{place}/pool"), 404)
    ((before, after),) = changes(tool, "query.delete")
    assert ([row["grade"] for row in before["judgements"]], after) == ([1, 2], None)
    own = bo.post(f"{PLACE}/queries", json={"text": "mine alone"}).json()["key"]
    assert bo.delete(f"{PLACE}/queries/{own}").status_code == 204


def test_the_second_of_two_who_settle_is_told_and_a_later_dissent_comes_back(tool, project):
    person(tool, "Ruth", "reviewer")
    ada, bo, cy, ruth = (client(tool, name) for name in ("Ada", "Bo", "Cy", "Ruth"))
    ada.post(f"{PLACE}/members", json={"name": "Ruth"})
    grade(bo, "d1", 3)
    grade(cy, "d1", 0)
    final = f"{PLACE}/queries/q1/final/d1"
    assert ada.put(final, json={"grade": 2}).json()["version"] == 1
    refused = ruth.put(final, json={"grade": 0})
    problem(refused, 409)
    assert refused.json()["current"] == {"grade": 2, "note": "", "version": 1}
    assert ada.get(f"{PLACE}/disagreements").json() == []
    (settled,) = ruth.get(f"{PLACE}/disagreements", params={"settled": True}).json()
    assert (settled["final"]["person"], settled["final"]["grade"]) == ("Ada", 2)
    grade(bo, "d1", 2, version=1)
    assert ada.get(f"{PLACE}/disagreements").json() == [], "it is what was settled"
    grade(bo, "d1", 1, version=2)
    (again,) = ada.get(f"{PLACE}/disagreements").json()
    assert (again["grades"], again["final"]["version"]) == ({"Bo": 1, "Cy": 0}, 1)
    assert ruth.put(final, json={"grade": 1, "version": 1}).json()["version"] == 2
    assert ada.get(f"{PLACE}/disagreements").json() == []
    problem(ada.put(final, json={"grade": None, "version": 1}), 409)
    assert ada.put(final, json={"grade": None, "version": 2}).json() == {
        "document": "d1",
        "grade": None,
        "note": "",
        "version": 0,
    }
    problem(ada.put(final, json={"grade": None}), 404)
    assert [row["final"] for row in ada.get(f"{PLACE}/disagreements").json()] == [None]
    assert changes(tool, "adjudication")[-1][1] is None
    problem(bo.put(final, json={"grade": None}), 403)


def test_whoever_is_to_judge_a_query_is_blind_whatever_their_role(tool, project):
    ada, bo, cy = (client(tool, name) for name in ("Ada", "Bo", "Cy"))
    grade(bo, "d1", 3)
    grade(cy, "d1", 0)
    assert len(ada.get(f"{PLACE}/queries/q1/judgements").json()) == 2, "nobody gave it to Ada"
    settings(ada, overlap=3)
    ada.post(f"{PLACE}/deal")
    assert "hidden" in problem(ada.get(f"{PLACE}/queries/q1/judgements"), 403)
    assert ada.get(f"{PLACE}/disagreements").json() == []
    done(ada)
    assert len(ada.get(f"{PLACE}/queries/q1/judgements").json()) == 2
    assert len(ada.get(f"{PLACE}/disagreements").json()) == 1


def test_what_is_archived_is_read_and_not_written(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    grade(bo, "d1", 3)
    settings(ada, archived=True)
    assert "is archived" in problem(bo.post(f"{PLACE}/entries"), 403)
    assert "is archived" in problem(bo.put(f"{PLACE}/queries/q1/judgements/d2", json={"grade": 1}), 403)
    assert pool(bo, "q1")["d1"]["grade"] == 3
    version = ada.get(PLACE).json()["version"]
    named = ada.patch(PLACE, json={"version": version, "changes": {"description": "new"}})
    assert "is archived" in problem(named, 403)
    assert ada.get(f"{PLACE}/export/archive").status_code == 200
    assert ada.post(f"{PLACE}/duplicate", json={"name": "Copy"}).status_code == 201
    settings(ada, archived=False)
    assert bo.post(f"{PLACE}/entries").status_code == 201
    settings(ada, archived=True)
    assert ada.delete(PLACE, params={"confirm": "Signs"}).status_code == 204


def test_agreement_with_the_llm_is_of_first_grades(tool, project, tmp_path):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    ada.post(f"{PLACE}/runs", json={"retrievers": ["bm25"]})
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    tool.doors.door = lambda choice: scripted(lambda messages: "2", tmp_path)
    assert ada.post(f"{PLACE}/queries/q1/llm-grades", json={}).json()["graded"] == 1
    assert grade(bo, "d1", 0)["llm_grade"] == 2
    grade(bo, "d1", 2, version=1)
    assert ada.get(f"{PLACE}/agreement").json()["llm_bias"] == {"Bo": 2.0}
    grade(bo, "d1", None, version=2)
    grade(bo, "d1", 2)
    told = ada.get(f"{PLACE}/agreement").json()
    assert told["llm_bias"] == {"Bo": 2.0}, "also where it was taken back in between"
    assert told["confusion"]["Bo"] == [{"person": 0, "llm": 2, "count": 1}]


def test_levels_with_other_scores_take_first_and_settled_grades_along(tool, project):
    ada, bo, cy = (client(tool, name) for name in ("Ada", "Bo", "Cy"))
    grade(bo, "d1", 0)
    grade(bo, "d1", 3, version=1)
    grade(cy, "d1", 1)
    assert ada.put(f"{PLACE}/queries/q1/final/d1", json={"grade": 0}).status_code == 200
    schema = ada.get(PLACE).json()["schema"]
    for level in schema["levels"]:
        level["score"] = {0: 0, 1: 10, 2: 20, 3: 30}[level["score"]]
    settings(ada, schema=schema)
    assert ada.get(f"{PLACE}/disagreements").json() == [], "nobody said anything new"
    with tool.database.reading() as session:
        rows = session.execute(select(Judgement.grade, Judgement.first_grade).order_by(Judgement.id))
        assert [tuple(row) for row in rows] == [(30, 0), (10, 10)]


def test_an_llm_grades_as_deep_as_is_asked(small, tmp_path):
    fill(small)
    ada = client(small, "Ada")
    rows = "".join(f"q1 Q0 d{n} {n} {9 - n} mine\n" for n in (1, 2, 3))
    ada.post(f"{PLACE}/runs/trec", files={"file": ("run.txt", rows)})
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    small.doors.door = lambda choice: scripted(lambda messages: "2", tmp_path)
    assert ada.post(f"{PLACE}/queries/q1/llm-grades", json={"depth": 1}).json()["graded"] == 1
    assert ada.post(f"{PLACE}/jobs/grades", json={"depth": 2}).json()["total"] == 1
    problem(ada.post(f"{PLACE}/jobs/grades", json={"depth": 0}), 422)


def test_agreement_tells_each_pair_with_its_confusion_and_goes_out_as_a_table(tool, project):
    person(tool, "Di")
    ada, bo, cy, di = (client(tool, name) for name in ("Ada", "Bo", "Cy", "Di"))
    ada.post(f"{PLACE}/members", json={"name": "Di"})
    for who, grades in ((bo, (3, 0, 1)), (cy, (3, 1, 1))):
        for number, value in enumerate(grades, 1):
            grade(who, f"d{number}", value)
    grade(di, "d1", 3)
    told = ada.get(f"{PLACE}/agreement").json()
    (pair,) = told["pairs"]
    assert (pair["first"], pair["second"], pair["items"]) == ("Bo", "Cy", 3)
    assert {"first": 0, "second": 1, "count": 1} in pair["confusion"]
    people = {row["name"]: row["value"] for row in told["people"]}
    assert people["cohen"] == pytest.approx(pair["value"])
    assert people["fleiss"] is not None
    table = ada.get(f"{PLACE}/agreement", params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert "agreement.csv" in table.headers["content-disposition"]
    assert [row["measure"] for row in rows if not row["pair"]] == ["raw", "cohen", "fleiss", "alpha"]
    assert float(next(row for row in rows if row["pair"] == "Bo / Cy")["value"]) == pytest.approx(pair["value"])
    problem(ada.get(f"{PLACE}/agreement", params={"format": "pdf"}), 422)


def test_an_invitation_is_listed_and_taken_back(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    token = ada.post("/invitations", json={"role": "reviewer", "project": "signs"}).json()["token"]
    (row,) = ada.get("/invitations").json()
    assert (row["role"], row["project"]) == ("reviewer", "Signs")
    assert token not in str(row)
    problem(bo.get("/invitations"), 403)
    assert ada.delete(f"/invitations/{row['id']}").status_code == 204
    assert ada.get("/invitations").json() == []
    problem(ada.delete(f"/invitations/{row['id']}"), 404)
    joining = {"token": token, "name": "Eve", "password": "long enough it is"}
    assert "ask for a new one" in problem(bo.post("/join", json=joining), 401)
