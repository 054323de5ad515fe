"""A save holds a limited amount, costs time in proportion to it, and is recorded as what it changed."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import select

from stm_agent.annotate.services import documents, entries, evidence, projects
from stm_agent.annotate.services.differences import applied, differences
from stm_agent.annotate.tables import Change, Evidence
from stm_agent.testing.annotate import client, fill

SPANS = 3000


def span(number, level="relevant"):
    return {
        "key": f"e{number}",
        "document": "long",
        "field": "text",
        "start": number,
        "end": number + 4,
        "level": level,
    }


@pytest.fixture
def place(tool):
    """An entry of Bo's, in a project with a document that has room for many spans."""
    fill(tool, "qa")
    with tool.database.writing() as session:
        project = projects.called(session, "signs")
        documents.add(session, project, [("long", {"text": "some words " * 1000})])
    return f"/projects/signs/entries/{client(tool, 'Bo').post('/projects/signs/entries').json()['key']}"


def save(bo, place, version, **changes):
    answer = bo.patch(place, json={"version": version, "changes": changes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def recorded(tool):
    with tool.database.reading() as session:
        rows = session.scalars(select(Change).where(Change.kind == "entry.save").order_by(Change.id))
        return [(row.before, row.after) for row in rows]


def test_a_save_of_a_note_records_the_note_alone_whatever_the_evidence(tool, place):
    bo = client(tool, "Bo")
    save(bo, place, 1, evidence=[span(number) for number in range(SPANS)])
    save(bo, place, 2, notes="one")
    save(bo, place, 3, evidence=[*(span(number) for number in range(SPANS)), span(SPANS)])
    _, note, mark = recorded(tool)
    assert note == ({"notes": ""}, {"notes": "one"})
    assert len(json.dumps(mark)) < 400
    assert mark[1]["marks"][0][0] == SPANS


def test_a_save_writes_only_the_evidence_that_differs(tool, place):
    bo = client(tool, "Bo")
    marks = save(bo, place, 1, evidence=[span(number) for number in range(5)])["evidence"]

    def rows():
        with tool.database.reading() as session:
            return dict(session.execute(select(Evidence.key, Evidence.id)).all())

    before = rows()
    marks = [{**marks[0], "level": "irrelevant"}, *marks[2:], span(9)]
    again = save(bo, place, 2, evidence=marks)["evidence"]
    assert [row["key"] for row in again] == ["e0", "e2", "e3", "e4", "e9"]
    assert bo.get(place).json()["evidence"] == again
    assert {key: number for key, number in rows().items() if key != "e9"} == {
        key: number for key, number in before.items() if key != "e1"
    }
    turned = save(bo, place, 3, evidence=again[::-1])["evidence"]
    assert turned == again[::-1] == bo.get(place).json()["evidence"]


def test_undo_and_redo_go_through_changes_of_every_part(tool, place):
    bo = client(tool, "Bo")
    states = [bo.get(place).json()]
    marks = [span(number) for number in range(4)]
    for changes in (
        {"evidence": marks, "notes": "a"},
        {"values": {"question": "q"}},
        {"evidence": [marks[3], marks[1]], "values": {"question": "other", "answer": "a"}},
        {"evidence": [{**marks[3], "level": "irrelevant"}, marks[1], span(8)]},
        {"values": {"question": None}, "name": "n"},
        {"evidence": []},
    ):
        states.append(save(bo, place, states[-1]["version"], **changes))
    parts = ("evidence", "values", "notes", "name", "state")

    def step(kind, expected):
        seen = bo.post(f"{place}/{kind}", json={"version": bo.get(place).json()["version"]}).json()
        assert {part: seen[part] for part in parts} == {part: expected[part] for part in parts}

    for expected in states[-2::-1]:
        step("undo", expected)
    for expected in states[1:]:
        step("redo", expected)


def test_a_change_that_an_earlier_version_recorded_whole_is_undone(tool, place):
    bo = client(tool, "Bo")
    before = save(bo, place, 1, evidence=[span(1), span(2)], notes="before")
    after = save(bo, place, 2, evidence=[span(2)], notes="after")
    with tool.database.writing() as session:
        newest = session.scalars(select(Change).where(Change.kind == "entry.save").order_by(Change.id.desc())).first()
        newest.before, newest.after = ({part: state[part] for part in entries.PARTS} for state in (before, after))
    undone = bo.post(f"{place}/undo", json={"version": 3}).json()
    assert (undone["notes"], undone["evidence"]) == ("before", before["evidence"])


def test_documents_are_read_while_somebody_else_saves(tool, place, monkeypatch):
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    other = f"/projects/signs/entries/{cy.post('/projects/signs/entries').json()['key']}"
    reading, go_on, get = threading.Event(), threading.Event(), documents.get

    def slow(session, project, key):
        reading.set()
        assert go_on.wait(30)
        return get(session, project, key)

    monkeypatch.setattr(documents, "get", slow)
    answers = []
    saving = threading.Thread(
        target=lambda: answers.append(bo.patch(place, json={"version": 1, "changes": {"evidence": [span(1)]}}))
    )
    saving.start()
    assert reading.wait(30)
    save(cy, other, 1, notes="meanwhile")
    go_on.set()
    saving.join(30)
    assert answers[0].json()["evidence"][0]["text"] == "ome "


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"evidence": [span(0)] * (evidence.MOST_SPANS + 1)}, "at most 5,000 pieces"),
        ({"evidence": [{**span(0), "key": f"k{n}", "end": 11_000} for n in range(190)]}, "at most 2,000,000 char"),
        ({"evidence": None}, "a list of objects"),
        ({"evidence": [span(0), span(0)]}, "is in the list twice"),
        ({"evidence": [{**span(0), "level": []}]}, "needs a level"),
        ({"values": {"question": "x" * 1_000_001}}, "at most 1,000,000 characters"),
        ({"notes": "x" * 100_001}, "100,000"),
    ],
)
def test_what_a_save_may_hold_is_limited(tool, place, changes, reason):
    answer = client(tool, "Bo").patch(place, json={"version": 1, "changes": changes})
    assert answer.status_code == 422
    assert reason in answer.json()["title"]


def test_tags_and_queries_are_limited(tool, place):
    ada = client(tool, "Ada")
    tags = "/projects/signs/tags/d1"
    assert ada.patch(tags, json={"add": ["x" * 101]}).status_code == 422
    assert ada.patch(tags, json={"add": [f"t{number}" for number in range(101)]}).status_code == 422
    version = ada.get("/projects/signs").json()["version"]
    many = {"version": version, "changes": {"tags": [f"t{number}" for number in range(101)]}}
    assert ada.patch("/projects/signs", json=many).status_code == 422
    assert ada.post("/projects/signs/queries", json={"text": "x" * 20_001}).status_code == 422
    changes = {"version": 1, "changes": {"text": "x" * 20_001}}
    assert ada.patch("/projects/signs/queries/q1", json=changes).status_code == 422


def test_a_difference_applied_to_one_state_gives_the_other():
    empty = {"name": "", "notes": "", "state": "draft", "values": {}, "evidence": []}
    rows = [{"key": str(number), "level": "a"} for number in range(6)]
    states = [
        empty,
        {**empty, "evidence": rows},
        {**empty, "evidence": rows[::-1], "values": {"q": "x"}},
        {**empty, "evidence": [rows[4], {**rows[1], "level": "b"}, rows[5]], "notes": "n"},
    ]
    for one in states:
        for other in states:
            before, after = differences(one, other)
            made = applied(other, after, before)
            assert {**made, "values": {key: value for key, value in made["values"].items() if value}} == one
