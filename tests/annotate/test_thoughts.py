"""What an LLM thinks is no draft and no grade; an answer that was cut off is said to be."""

from __future__ import annotations

import json

import pytest

from stm_agent.llm.answer import Answer
from stm_agent.llm.scripted import scripted
from stm_agent.testing.annotate import client, fill


@pytest.fixture
def lend(small, tmp_path):
    """Lend the team of project Signs an LLM that answers so."""
    fill(small, "qa")
    ada = client(small, "Ada")
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    now = ada.get("/projects/signs").json()
    now["schema"]["blocks"][1] |= {"inputs": [], "mode": "solo"}
    now["schema"]["blocks"].append(
        {"id": "kind", "name": "Kind", "type": "select", "options": ["a", "b"], "mode": "solo", "prompt": "Which?"}
    )
    ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": now["schema"]}})

    def give(*answers):
        door = scripted(list(answers), tmp_path / "llm")
        small.doors.door = lambda choice: door

    return give


def cut(text):
    return Answer(text, 5, 5, 0.0, finish_reason="length")


def drafted(who, block="answer"):
    """Return what a reader of a draft sees piece by piece, and the last event with its data."""
    entry = who.post("/projects/signs/entries").json()["key"]
    lines = who.post(f"/projects/signs/entries/{entry}/drafts", json={"block": block}).text.strip().split("\n\n")
    events = [
        (kind.partition(": ")[2], json.loads(data.partition(": ")[2])) for kind, data in map(str.splitlines, lines)
    ]
    return "".join(data["text"] for kind, data in events if kind == "piece"), *events[-1]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("<think> a thought </think>\n\nThe answer is this.", "The answer is this."),
        ("<think>one</think> The < answer <b> here", "The < answer <b> here"),
        ("plain words, as ever", "plain words, as ever"),
    ],
)
def test_a_streamed_draft_shows_no_thought(small, lend, answer, text):
    lend(answer)
    seen, kind, data = drafted(client(small, "Bo"))
    assert (seen.strip(), kind) == (text, "done")
    assert (data["answer"], data["value"], data["cut"]) == (text, text, False)


def test_a_thought_that_began_without_a_tag_is_in_no_draft(small, lend):
    lend("I think so </think> The answer.")
    _, kind, data = drafted(client(small, "Bo"))
    assert (kind, data["answer"]) == ("done", "The answer.")


def test_an_answer_of_nothing_but_thoughts_is_refused_in_words(small, lend):
    lend(cut("<think> and so on and so"))
    seen, kind, data = drafted(client(small, "Bo"))
    assert (seen, kind) == ("", "problem")
    assert "cut off at 512 tokens" in data["title"]


def test_a_text_that_was_cut_off_is_offered_as_such_and_a_choice_is_not(small, lend):
    lend(cut("The answer is"), cut("a"))
    bo = client(small, "Bo")
    _, kind, data = drafted(bo)
    assert (kind, data["cut"], data["answer"]) == ("done", True, "The answer is")
    assert bo.get("/projects/signs/drafts", params={"entry": data["entry_key"]}).json()[0]["cut"]
    _, kind, data = drafted(bo, "kind")
    assert (kind, "cut off" in data["title"]) == ("problem", True)


def grades(small, lend, *answers):
    lend(*answers)
    ada = client(small, "Ada")
    ada.post("/projects/signs/runs", json={"retrievers": ["bm25"]})
    return ada.post("/projects/signs/queries/q2/llm-grades", json={"depth": 1}).json()


def test_a_grade_behind_a_thought_counts(small, lend):
    assert grades(small, lend, "<think> 0 or 1? </think> 1") == {"graded": 1, "failed": 0}


def test_a_model_that_thinks_beyond_the_few_tokens_of_a_grade_is_given_room(small, lend):
    assert grades(small, lend, cut("<think> 0 or"), "<think> 0 or 1? </think>1") == {"graded": 1, "failed": 0}
    (draft,) = client(small, "Ada").get("/projects/signs/drafts").json()
    assert (draft["answer"], draft["parameters"]["max_tokens"]) == ("1", 4096)


def test_a_try_without_an_answer_is_a_problem_and_no_fault_of_the_tool(small, lend):
    lend(Answer("", 1, 0, 0.0, finish_reason=None), "<think> who am I? </think> A model.", cut("<think> I am"))
    ada = client(small, "Ada")
    empty = ada.post("/llms/script/try")
    assert (empty.status_code, "no usable answer" in empty.json()["title"]) == (400, True)
    assert ada.post("/llms/script/try").json()["answer"] == "A model."
    assert "nothing but thoughts" in ada.post("/llms/script/try").json()["answer"]
