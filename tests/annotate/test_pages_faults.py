"""The annotation tool in a real browser when things go wrong: nothing that was typed is lost, nothing is run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import delete, select

from stm_agent.annotate.services import documents, entries, llms, people, projects
from stm_agent.annotate.tables import Entry, Project
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.errors import GenerationError
from stm_agent.llm.answer import Answer
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.options import LlmOptions
from stm_agent.testing.browser import CHROMIUM, drag_over, new_page, picture, place, saved, serving, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
LONG = " ".join(f"Sentence {number} of a long report says 𐍈 is not y." for number in range(250))


class Failing:
    """An LLM that dies after two words, or, told so, writes until it is stopped."""

    endless = False
    stopped = False

    def answer(self, messages, *, temperature, max_tokens, seed) -> Answer:
        raise GenerationError("the LLM is not there")

    def stream(self, messages, *, temperature, max_tokens, seed):
        try:
            for number in range(200 if self.endless else 2):
                yield f"word{number} "
                time.sleep(0.05 if self.endless else 0)
        except GeneratorExit:
            self.stopped = True
            raise
        raise GenerationError("the LLM broke off")

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture(scope="module")
def llm() -> Failing:
    return Failing()


@pytest.fixture(scope="module")
def tool(tmp_path_factory, llm) -> Iterator[Tool]:
    """A tool for one person with a question-answering project."""
    place = tmp_path_factory.mktemp("space")
    opened = open_tool(place)
    options = LlmOptions(model="scripted:test")
    door = LlmClient(options, llm, cache=place / "llm", ledger=place / "llm.jsonl", budget=Budget())
    opened.doors.door = lambda choice: door
    with opened.database.writing() as session:
        me = people.actor_of(people.local_person(session))
        llms.put(session, me, opened.vault, {"name": "script", "model": "scripted:numbered"})
        made = projects.create(session, me, name="Reports", template="qa", key="reports")
        documents.add(
            session,
            made,
            [("long", {"title": "Long", "text": LONG}), ("short", {"text": "<img src=x onerror=alert(1)>"})],
        )
    yield opened
    opened.close()


@pytest.fixture
def page(tool, browser) -> Iterator[Page]:
    with tool.database.writing() as session:
        # The page opens the last draft there is; each test begins its own.
        session.execute(delete(Entry))
    with serving(tool) as url:
        opened = new_page(browser, url)
        opened.goto(place(url, "reports", "work", "long"))
        opened.get_by_role("button", name="New n").click()
        opened.locator("#block-question").wait_for()
        yield opened
        opened.context.close()


def test_evidence_in_a_long_text_has_the_right_place(tool, page):
    body = page.get_by_role("textbox", name="text of long")
    drag_over(page, body, "Sentence 200 of a long report")
    page.keyboard.press("1")
    expect(page.locator(".evidence")).to_have_count(1)
    saved(page)
    with tool.database.reading() as session:
        row = session.scalar(select(Entry).order_by(Entry.id.desc()).limit(1))
        mark = entries.view(session, row)["evidence"][0]
    assert LONG[mark["start"] : mark["end"]] == mark["text"] == "Sentence 200 of a long report"
    page.keyboard.press("i")
    page.keyboard.type("says 𐍈 is")
    expect(page.get_by_text("1 of 250")).to_be_visible()
    page.keyboard.press("Shift+Enter")
    expect(page.get_by_text("250 of 250")).to_be_visible()
    expect(page.locator("mark[aria-current]")).to_have_text("says 𐍈 is")


def test_an_llm_that_dies_leaves_the_answer_as_it_was(page, llm):
    page.locator("#block-question").fill("what is y?")
    page.locator("#block-answer").fill("mine")
    drag_over(page, page.get_by_role("textbox", name="text of long"), "Sentence 0 of a long report")
    page.keyboard.press("1")
    page.get_by_role("button", name="Draft", exact=True).click()
    page.get_by_text("the LLM broke off. Nothing was changed.").wait_for()
    assert violations(page) == []
    picture(page, "draft-failed")
    llm.endless = True
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("word3").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Escape")
    expect(page.locator(".draft")).to_have_count(0)
    expect(page.locator("#block-answer")).to_have_value("mine")
    for _ in range(100):
        if llm.stopped:
            break
        time.sleep(0.05)
    assert llm.stopped, "the LLM is stopped as well"


def test_two_windows_of_one_entry_lose_nothing(page):
    page.locator("#block-question").fill("first")
    saved(page)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#block-question")).to_have_value("first")
    other.locator("#block-question").fill("from the other window")
    saved(other, "waiting")
    saved(other)
    other.close()
    page.locator("#block-question").fill("from here")
    page.get_by_role("heading", name="Changed elsewhere").wait_for()
    expect(page.locator("dialog td", has_text="from the other window")).to_have_count(1)
    assert violations(page) == []
    picture(page, "conflict")
    page.keyboard.press("Escape")
    page.get_by_text("nothing is saved until you choose").wait_for()
    page.locator("#block-question").fill("from here, and more")
    saved(page, "not saved")
    assert violations(page) == []
    page.reload()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#block-question")).to_have_value("from here, and more")
    saved(page, "not saved")
    page.get_by_role("button", name="Choose").click()
    expect(page.locator("dialog td", has_text="from the other window")).to_have_count(1)
    page.get_by_role("button", name="Keep mine").click()
    saved(page)
    page.reload()
    expect(page.locator("#block-question")).to_have_value("from here, and more")


def test_a_server_that_dies_and_comes_back_gets_what_was_typed(tool, browser):
    with serving(tool) as url:
        page = new_page(browser, url)
        port = int(url.split(":")[2].split("/")[0])
        page.goto(place(url, "reports", "work", "long"))
        page.get_by_role("button", name="New n").click()
        page.locator("#block-question").fill("before")
        saved(page)
    page.locator("#block-question").fill("typed while it was away")
    saved(page, "not saved")
    with serving(tool, port=port):
        saved(page)
    page.locator("#block-question").fill("typed, and the tab closed")
    with serving(tool, port=port) as url:
        again = page.context.new_page()
        page.close()
        again.goto(place(url, "reports", "work", "long"))
        expect(again.locator("#block-question")).to_have_value("typed, and the tab closed")
        saved(again)
        again.context.close()


def test_what_a_document_holds_is_never_run_and_nothing_comes_from_elsewhere(tool, browser):
    with serving(tool) as url:
        base = url.split("?")[0]
        page = new_page(browser, base)
        page.get_by_text("Open the address that the command printed").wait_for()
        assert page.goto(f"{base}?token=wrong").status == 401
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: pytest.fail("a document's script ran"))
        page.goto(url)
        page.goto(place(base, "reports", "work", "short"))
        expect(page.get_by_role("textbox", name="text of short")).to_have_text("<img src=x onerror=alert(1)>")
        assert asked
        assert [one for one in asked if not one.startswith((base, "data:"))] == []
        page.context.close()


@pytest.mark.assets
@pytest.mark.slow
def test_the_embedded_llm_drafts_without_network_or_key(tmp_path, browser):
    tool = open_tool(tmp_path)
    with tool.database.writing() as session:
        me = people.actor_of(people.local_person(session))
        made = projects.create(session, me, name="Small", template="qa", key="small")
        documents.add(session, made, [("fever", {"text": "Fever is a raised body temperature."})])
        assert session.scalar(select(Project.id)) == made.id
    with serving(tool) as url:
        page = new_page(browser, url)
        page.goto(url.split("?")[0] + "#/people")
        page.get_by_role("button", name="Set up an LLM").click()
        page.get_by_role("textbox", name="Name Blocks refer").fill("small")
        page.get_by_role("textbox", name="Model (LiteLLM name)").fill("embedded:smollm2-135m")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        page.get_by_role("rowheader", name="small (default)").wait_for()
        page.goto(place(url, "small", "work", "fever"))
        page.get_by_role("button", name="New n").click()
        page.locator("#block-question").fill("What is a fever?")
        drag_over(page, page.get_by_role("textbox", name="text of fever"), "a raised body temperature")
        page.keyboard.press("1")
        page.get_by_role("button", name="Draft", exact=True).click()
        page.get_by_role("button", name="Accept").wait_for(timeout=200_000)
        page.keyboard.press("Control+Enter")
        expect(page.locator("#block-answer")).not_to_have_value("")
        page.context.close()
    tool.close()
