"""The annotation tool in a real browser: negatives by one key, many drafts at once, files by every dialog."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from stm_agent.annotate.services import queries
from stm_agent.annotate.tables import Doubt
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.mine.reviewed import refused
from stm_agent.testing.annotate import lend_llm, own_project
from stm_agent.testing.browser import CHROMIUM, picture, place, shut, violations
from stm_agent.testing.tiny import tiny_beir

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
PROMPT = "Write one question that this document answers."
DOUBTFUL = [("what is fever", "a cough"), ("what is fever", "a high temperature"), ("what is a rash", "error 404")]


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """Project Signs with a block that an LLM drafts from the document alone, and three doubtful negatives."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    lend_llm(opened, lambda messages: f"What is {messages[1]['content'].split()[-1]}")
    with own_project(opened) as (session, me, made):
        field = made.schema["fields"][0]["id"]
        inputs = [{"kind": "field", "ref": field, "label": "Title", "required": True}]
        question = {**made.schema["blocks"][0], "mode": "human", "prompt": PROMPT, "inputs": inputs}
        fields = [{**one, "ai_input": True} for one in made.schema["fields"]]
        made.schema = {**made.schema, "fields": fields, "blocks": [question, *made.schema["blocks"][1:]]}
        queries.create(session, me, made, text="high temperature", key="q1")
        session.add_all(
            Doubt(project_id=made.id, query=query, positive="p", negative=negative, origin="bm25")
            for query, negative in DOUBTFUL
        )
    yield opened
    opened.close()


def test_negatives_are_answered_by_one_key_and_taken_back(tool, opened):
    page, url = opened
    page.goto(place(url, "signs", "review"))
    heading = page.get_by_role("heading", name="Hard negatives to review")
    expect(heading).to_contain_text("(3)")
    assert violations(page) == []
    picture(page, "negatives")
    for key, left in (("2", "(2)"), ("1", "(1)")):
        page.keyboard.press(key)
        expect(heading).to_contain_text(left)
    page.keyboard.press("Control+z")
    expect(heading).to_contain_text("(2)")
    page.keyboard.press("3")
    page.keyboard.press("3")
    page.get_by_text("No negatives to review.").wait_for()
    told: set[str] = set()
    end = time.monotonic() + 30
    while len(told) < len(DOUBTFUL) and time.monotonic() < end:
        page.wait_for_timeout(50)
        told = {negative for _, negative in refused(tool.folder.parent)}
    assert told == {negative for _, negative in DOUBTFUL}


def test_a_block_is_drafted_for_many_documents_while_one_goes_on(tool, opened):
    page, url = opened
    page.goto(place(url, "signs", "documents"))
    page.get_by_role("heading", name="3 documents").wait_for()
    page.keyboard.press("b")
    page.get_by_role("heading", name="Draft for many documents").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Start").click()
    page.get_by_text("3 of 3 done").wait_for()
    page.get_by_role("button", name="Open").click()
    box = page.get_by_label("Draft by scripted:numbered (you can edit it)")
    page.get_by_label("Your entries").select_option(label="draft: d2")
    expect(box).to_have_value("What is Cough")
    page.get_by_role("region", name="Document", exact=True).get_by_text("expulsion of air").wait_for()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#block-question")).to_have_value("What is Cough")


def test_files_come_in_by_every_dialog(opened, tmp_path):
    page, url = opened
    page.goto(place(url, "signs", "documents"))
    page.get_by_role("heading", name="3 documents").wait_for()
    page.keyboard.press("i")
    page.get_by_role("heading", name="Import documents").wait_for()
    page.set_input_files(
        "input[type=file]", shutil.make_archive(str(tmp_path / "tiny"), "zip", tiny_beir(tmp_path / "t"))
    )
    page.get_by_role("dialog").get_by_role("button", name="Import", exact=True).click()
    page.get_by_text("60 documents, 120 queries and 120 judgements").wait_for()
    assert violations(page) == []
    shut(page)
    page.keyboard.press("e")
    page.get_by_role("heading", name="Export").wait_for()
    assert violations(page) == []
    shut(page)
    page.goto(place(url, "signs", "judge"))
    page.get_by_role("button", name="Runs and pools r").click()
    page.get_by_role("heading", name="Runs and pools").wait_for()
    assert violations(page) == []
    (tmp_path / "a.run").write_text("q1 Q0 d2 1 9 mine\n")
    (tmp_path / "a.qrels").write_text("q1 0 d2 1\nq1 0 gone 1\n")
    page.get_by_label("Or import a TREC run").set_input_files(tmp_path / "a.run")
    page.get_by_text("mine: 1 passages for 1 query").wait_for()
    page.get_by_label("Import TREC qrels as your own judgements").set_input_files(tmp_path / "a.qrels")
    page.get_by_text("1 judgements imported as yours; 1 skipped: the judged document is not in the project").wait_for()


def test_a_draft_is_rejected_only_in_it_and_comes_back_with_its_edits(opened):
    page, url = opened
    page.goto(place(url, "signs", "work", "d1"))
    page.get_by_role("button", name="New n").click()
    page.locator("#block-question").wait_for()
    page.get_by_role("region", name="Question").get_by_role("button", name="Draft", exact=True).click()
    box = page.get_by_label("Draft by scripted:numbered (you can edit it)")
    expect(box).to_have_value("What is Fever")
    box.fill("What is a fever?")
    page.get_by_label("Search all documents").press("Escape")
    expect(box).to_have_value("What is a fever?")
    page.reload()
    expect(box).to_have_value("What is a fever?")
    box.press("Escape")
    expect(box).to_have_count(0)
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(box).to_have_value("What is a fever?")
    box.press("Control+Enter")
    expect(page.locator("#block-question")).to_have_value("What is a fever?")
