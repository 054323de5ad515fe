"""Drafts that say nothing are refused; decisions are the author's and can be taken back; a dead LLM leaves nothing."""

from __future__ import annotations

import math
import threading

import pytest

from stm_agent.annotate import answers, drafting
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import Block
from stm_agent.annotate.tables import Draft, Project
from stm_agent.annotate.templates import TEMPLATES
from stm_agent.errors import GenerationError
from stm_agent.llm.scripted import scripted
from stm_agent.testing.annotate import client, ended, fill, person, until

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
        ("select", "Maybe BC", None),
        ("select", "It is not A", None),
        ("select", "The answer is B. It does not say why.", "B"),
        ("multiselect", "female", ["female"]),
        ("multiselect", "male, female", ["male", "female"]),
        ("multiselect", "neither", None),
        ("multiselect", "female, not male", None),
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
        with pytest.raises(Invalid, match=f"not a {kind} for 'B'"):
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
    with pytest.raises(Invalid, match="must not go to an LLM"):
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
    assert bo.put(place, json={"decision": "offered"}).json()["state"] == "offered", "said twice, it is said once"
    told = bo.put(place, json={"decision": "accepted", "final": "An answer!"}).json()
    assert (told["state"], told["edit_distance"]) == ("edited", 1)
    assert bo.put(place, json={"decision": "accepted", "final": "An answer!"}).json() == told
    assert bo.put(place, json={"decision": "accepted", "final": "Another!"}).status_code == 422


def test_of_the_drafts_of_a_block_one_waits_and_a_late_decision_on_another_is_kept(tool, asked):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    asked()
    older, newer = (f"/projects/signs/drafts/{row['key']}" for row in asked())
    assert bo.put(older, json={"decision": "offered"}).json()["state"] == "offered", "the one before is taken back"
    assert bo.put(newer, json={"decision": "offered"}).json()["state"] == "offered"
    assert bo.put(older, json={"decision": "rejected"}).json()["state"] == "rejected"
    assert bo.put(older, json={"decision": "accepted"}).status_code == 422
    bo.put(newer, json={"decision": "rejected"})
    newest = asked()[-1]["key"]
    assert bo.put(newer, json={"decision": "offered"}).json()["state"] == "offered"
    states = {row["key"]: row["state"] for row in ada.get("/projects/signs/drafts").json()}
    assert states[newest] == "superseded" and list(states.values()).count("offered") == 1


def test_what_an_llm_said_of_no_entry_is_an_administrators(tool, asked):
    bo = client(tool, "Bo")
    with tool.database.writing() as session:
        row = session.query(Project).filter_by(key="signs").one()
        draft = Draft(project_id=row.id, entry_key=None, block="", model="m", parameters={}, messages=[])
        session.add(draft)
        session.flush()
        key = draft.key
    assert bo.put(f"/projects/signs/drafts/{key}", json={"decision": "accepted"}).status_code == 403


def test_a_draft_asked_again_takes_the_place_of_the_one_that_waited(asked):
    asked()
    assert [row["state"] for row in asked()] == ["superseded", "offered"]


@pytest.fixture
def alone(small):
    """Ada, in a project whose answers an LLM drafts without inputs."""
    fill(small, "qa")
    ada = client(small, "Ada")
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    now = ada.get("/projects/signs").json()
    now["schema"]["blocks"][1] |= {"inputs": [], "mode": "solo"}
    edit = {"version": now["version"], "changes": {"schema": now["schema"]}}
    assert ada.patch("/projects/signs", json=edit).status_code == 200
    return ada


def test_an_llm_that_is_dead_leaves_no_empty_entries(small, alone):
    seen = []

    class Dead:
        def stream(self, *_args, **_more):
            seen.append(alone.get("/projects/signs/entries").json())
            raise GenerationError("nobody answers")
            yield

    small.doors.door = lambda choice: Dead()
    job = ended(alone, alone.post("/projects/signs/jobs/drafts", json={"block": "answer"}).json())
    assert (job["state"], job["failed"]) == ("finished", 3)
    assert seen == [[]] * 3 and alone.get("/projects/signs/entries").json() == []
    drafts = alone.get("/projects/signs/drafts").json()
    assert [(row["state"], row["entry_key"]) for row in drafts] == [("failed", None)] * 3


def test_a_job_is_found_while_it_runs_and_one_stopped_at_its_end_is_finished(small, alone, tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def answer(messages):
        begun.set()
        go_on.wait(20)
        return "An answer."

    door = scripted(answer, tmp_path / "llm")
    small.doors.door = lambda choice: door
    job = alone.post("/projects/signs/jobs/drafts", json={"block": "answer", "documents": ["d1"]}).json()
    assert begun.wait(20)
    (found,) = client(small, "Bo").get("/projects/signs/jobs").json()
    assert (found["key"], found["state"]) == (job["key"], "running")
    assert alone.delete(f"/projects/signs/jobs/{job['key']}").json()["state"] == "stopped"
    assert alone.get("/projects/signs/jobs").json() == []
    go_on.set()
    until(lambda: alone.get(f"/projects/signs/jobs/{job['key']}").json()["state"], "finished")
    (entry,) = alone.get("/projects/signs/entries").json()
    (draft,) = alone.get("/projects/signs/drafts").json()
    assert (entry["name"], entry["about"], draft["entry_key"]) == ("d1", "d1", entry["key"])
