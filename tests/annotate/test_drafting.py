"""Drafts that say nothing are refused, decisions are the author's and can be taken back, schema edits lose nothing."""

from __future__ import annotations

import math
import time

import pytest

from stm_agent.annotate import answers, drafting
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import Block
from stm_agent.annotate.templates import TEMPLATES
from stm_agent.errors import GenerationError
from stm_agent.testing.annotate import client, fill, person
from stm_agent.testing.scripted import scripted

OPTIONS = ("A", "B", "male", "female")


def block(kind):
    return Block(id="b", name="B", type=kind, mode="solo", prompt="p", options=OPTIONS if "select" in kind else ())


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        ("boolean", "Yes.", True),
        ("boolean", "No, it is not", False),
        ("boolean", "Not enough information", None),
        ("select", "B", "B"),
        ("select", "The answer is B.", "B"),
        ("select", "A or B", None),
        ("multiselect", "female", ["female"]),
        ("multiselect", "male, female", ["male", "female"]),
        ("multiselect", "neither", None),
        ("date", "2024-02-29", "2024-02-29"),
        ("date", "2024 was the year", None),
        ("date", "2023-02-29", None),
        ("number", "3.5 mg", 3.5),
        ("number", "nan", None),
        ("number", "1e999", None),
        ("text", "  one\nline ", "one line"),
        ("longtext", "   ", None),
    ],
)
def test_an_answer_is_a_value_of_its_block_or_refused(kind, answer, value):
    if value is None:
        with pytest.raises(Invalid, match=f"no {kind} for 'B'"):
            answers.fitted(block(kind), answer)
    else:
        found = answers.fitted(block(kind), answer)
        assert found == value and not (isinstance(found, float) and math.isnan(found))


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("2", 2),
        ("Grade: 2.", 2),
        ("on a scale of 0-3: 2", None),
        ("3 - it answers", 3),
        ("²", None),
        ("17", None),
        ("1 or 2", None),
    ],
)
def test_a_grade_is_named_alone_or_refused(answer, grade):
    if grade is None:
        with pytest.raises(Invalid):
            answers.read_grade(TEMPLATES["judging"], answer)
    else:
        assert answers.read_grade(TEMPLATES["judging"], answer) == grade


def test_a_field_that_may_go_to_no_llm_is_not_sent():
    qa = TEMPLATES["qa"]
    source = {"kind": "field", "ref": "text", "label": "Text"}
    asked = qa.blocks[1].model_copy(update={"inputs": (qa.blocks[1].inputs[0].model_validate(source),)})
    closed = qa.model_copy(update={"fields": tuple(one.model_copy(update={"ai_input": False}) for one in qa.fields)})
    sent = drafting.compose(qa, asked, values={}, evidence=[], fields={"text": "secret"})
    assert "secret" in sent[1]["content"]
    kept = drafting.compose(closed, asked, values={}, evidence=[], fields={"text": "secret"})
    assert "secret" not in kept[1]["content"]
    needed = asked.model_copy(update={"inputs": (asked.inputs[0].model_copy(update={"required": True}),)})
    with pytest.raises(Invalid, match="may not go to an LLM"):
        drafting.compose(closed, needed, values={}, evidence=[], fields={"text": "secret"})


@pytest.fixture
def asked(tool, tmp_path):
    """Bo's entry, whose answer an LLM drafts with a newline at its end."""
    fill(tool, "qa")
    person(tool, "Re", "reviewer")
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    ada.post("/projects/signs/members", json={"name": "Re"})
    door = scripted(lambda messages: "An answer.\n", tmp_path / "llm")
    tool.doors.door = lambda choice: door
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    entry = bo.post("/projects/signs/entries").json()["key"]
    mark = {"key": "m", "document": "d1", "field": "text", "start": 0, "end": 5, "level": "relevant"}
    changes = {"values": {"question": "what?"}, "evidence": [mark]}
    told = bo.patch(f"/projects/signs/entries/{entry}", json={"version": 1, "changes": changes})
    assert told.status_code == 200, told.text

    def ask():
        assert bo.post(f"/projects/signs/entries/{entry}/drafts", json={"block": "answer"}).status_code == 200
        return bo.get("/projects/signs/drafts", params={"entry": entry}).json()

    return ask


def test_a_decision_is_the_authors_counts_real_edits_and_can_be_taken_back(tool, asked):
    bo, re = client(tool, "Bo"), client(tool, "Re")
    (draft,) = asked()
    place = f"/projects/signs/drafts/{draft['key']}"
    assert re.put(place, json={"decision": "accepted"}).status_code == 403
    told = bo.put(place, json={"decision": "accepted", "final": "An answer."}).json()
    assert (told["state"], told["edit_distance"]) == ("accepted", 0)
    assert bo.put(place, json={"decision": "rejected"}).status_code == 422
    assert bo.put(place, json={"decision": "offered"}).json()["state"] == "offered"
    assert bo.put(place, json={"decision": "offered"}).status_code == 422
    told = bo.put(place, json={"decision": "accepted", "final": "An answer!"}).json()
    assert (told["state"], told["edit_distance"]) == ("edited", 1)


def test_a_draft_asked_again_takes_the_place_of_the_one_that_waited(asked):
    asked()
    assert [row["state"] for row in asked()] == ["superseded", "offered"]


def test_an_llm_that_is_dead_leaves_no_empty_entries_and_its_job_is_listed(small):
    fill(small, "qa")
    ada = client(small, "Ada")

    class Dead:
        def complete(self, *_args, **_more):
            raise GenerationError("nobody answers")

    small.doors.door = lambda choice: Dead()
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    schema = ada.get("/projects/signs").json()
    blocks = schema["schema"]["blocks"]
    blocks[1] = {**blocks[1], "inputs": [], "mode": "solo"}
    edit = {"version": schema["version"], "changes": {"schema": {**schema["schema"], "blocks": blocks}}}
    assert ada.patch("/projects/signs", json=edit).status_code == 200
    job = ada.post("/projects/signs/jobs/drafts", json={"block": "answer"}).json()
    end = time.monotonic() + 20
    while job["state"] == "running" and time.monotonic() < end:
        job = ada.get(f"/projects/signs/jobs/{job['key']}").json()
    assert (job["state"], job["failed"]) == ("finished", 3)
    assert ada.get("/projects/signs/jobs").json() == []
    assert ada.get("/projects/signs/entries").json() == []
    assert [row["state"] for row in ada.get("/projects/signs/drafts").json()] == ["failed"] * 3


def edited(ada, change, **more):
    """Change the schema of project Signs."""
    now = ada.get("/projects/signs").json()
    schema = now["schema"]
    change(schema)
    return ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": schema, **more}})


def test_a_renamed_field_takes_its_texts_and_evidence_along(tool, asked):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")

    def rename(name):
        def change(schema):
            next(one for one in schema["fields"] if one["id"] == "text")["name"] = name

        return change

    assert edited(ada, rename("body")).status_code == 200
    assert "body" in ada.get("/projects/signs/documents/d1").json()["fields"]
    assert ada.get("/projects/signs/search", params={"q": "temperature"}).json()[0]["key"] == "d1"
    (entry,) = bo.get("/projects/signs/entries").json()
    assert entry["evidence"][0]["field"] == "body"
    assert edited(ada, rename("year")).status_code == 422, "documents have another year"
    assert edited(ada, rename("text")).status_code == 200
    assert "text" in ada.get("/projects/signs/documents/d1").json()["fields"]


def test_grades_follow_their_level_and_are_never_left_without_one(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    bo.put("/projects/signs/queries/q1/judgements/d1", json={"grade": 3})

    def without(schema):
        schema["levels"] = [one for one in schema["levels"] if one["score"] != 3]

    def higher(schema):
        next(one for one in schema["levels"] if one["score"] == 3)["score"] = 4

    told = edited(ada, without)
    assert told.status_code == 422 and "1 judgements of grade 3" in told.json()["title"]
    assert edited(ada, higher).status_code == 200
    assert ada.get("/projects/signs/export/qrels").text == "q1 0 d1 4\n"


def test_a_value_comes_back_as_it_was_when_its_block_is_what_it_was(tool, asked):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")

    def to(kind):
        def change(schema):
            schema["blocks"] = [one for one in schema["blocks"] if one["id"] != "sure"]
            schema["blocks"].append({"id": "sure", "name": "Sure", "type": kind})

        return change

    assert edited(ada, to("boolean")).status_code == 200
    (entry,) = bo.get("/projects/signs/entries").json()
    place = f"/projects/signs/entries/{entry['key']}"
    bo.patch(place, json={"version": entry["version"], "changes": {"values": {"sure": True}}})
    edited(ada, to("text"))
    assert isinstance(bo.get(place).json()["values"]["sure"], str)
    edited(ada, to("boolean"))
    assert bo.get(place).json()["values"]["sure"] is True
