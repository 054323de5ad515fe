"""The annotation tool in a real browser: drafts that wait, what they need, whose they are, and jobs that go on."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from stm_agent.annotate.services import assigning, drafts, entries, people, projects
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import lend_llm, own_project, person
from stm_agent.testing.browser import CHROMIUM, place, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
TITLE = {"kind": "field", "ref": "title", "label": "Title", "required": False}
SURE = {"kind": "block", "ref": "sure", "label": "Sure", "required": True}
BLOCKS = [
    {"id": "sure", "name": "Sure", "type": "boolean"},
    {"id": "topic", "name": "Topic", "mode": "human", "prompt": "Name the topic.", "inputs": [TITLE]},
    {"id": "why", "name": "Why", "type": "longtext", "mode": "human", "prompt": "Say why.", "inputs": [SURE]},
]


class Held:
    """Whether the LLM answers, or waits until it is let go."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()

    def answer(self, messages: list[dict[str, str]]) -> str:
        """Say what was asked, with a line's end as LLMs do."""
        assert self.free.wait(30)
        return f"On {messages[1]['content'].split()[-1]}\n"


@pytest.fixture(scope="module")
def held() -> Held:
    return Held()


@pytest.fixture(scope="module")
def tool(tmp_path_factory, held) -> Iterator[Tool]:
    """Project Signs, with a block that is drafted from the title and one that needs another to be said."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    lend_llm(opened, held.answer)
    with own_project(opened) as (session, me, made):
        fields = [{**one, "ai_input": True} for one in made.schema["fields"]]
        projects.edit(session, me, made, {"schema": {**made.schema, "fields": fields, "blocks": BLOCKS}}, version=1)
    yield opened
    opened.close()


@pytest.fixture
def page(opened) -> Page:
    """A new entry beside document d1."""
    page, url = opened
    page.goto(place(url, "signs", "work", "d1"))
    page.get_by_role("button", name="New n").click()
    page.locator("#block-topic").wait_for()
    return page


def draft(page: Page, block: str) -> Locator:
    """Ask for a draft of a block; return the box that it waits in."""
    part = page.get_by_role("region", name=block, exact=True)
    part.get_by_role("button", name="Draft", exact=True).click()
    return part.get_by_label("Draft by scripted:numbered (you can edit it)")


def test_a_no_is_said_and_each_draft_is_decided_on_in_its_own_box(page):
    why = page.get_by_role("region", name="Why").get_by_role("button", name="Draft", exact=True)
    expect(why).to_be_disabled()
    page.get_by_role("group", name="Sure").get_by_label("No").check()
    expect(why).to_be_enabled()
    first, second = draft(page, "Topic"), draft(page, "Why")
    expect(first).to_have_value("On Fever")
    expect(second).to_have_value("On No")
    second.press("Escape")
    expect(second).to_have_count(0)
    expect(first).to_have_value("On Fever")
    page.get_by_role("button", name="Undo", exact=True).click()
    second.fill("For no reason")
    second.press("Control+Enter")
    expect(page.locator("#block-why")).to_have_value("For no reason")
    expect(first).to_have_value("On Fever")


def test_a_draft_that_is_kept_as_it_came_counts_as_accepted(tool, page):
    expect(draft(page, "Topic")).to_have_value("On Fever")
    with page.expect_response("**/drafts/*") as told:
        page.keyboard.press("Control+Enter")
    assert (told.value.json()["state"], told.value.json()["edit_distance"]) == ("accepted", 0)
    assert page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('unsaved draft'))") == []


def test_a_draft_that_waits_stays_until_there_is_another_and_comes_back(tool, page, held):
    box = draft(page, "Topic")
    box.fill("Edited")
    held.free.clear()
    page.get_by_role("region", name="Topic", exact=True).get_by_role("button", name="Draft", exact=True).click()
    page.get_by_text("Waiting for the LLM").wait_for()
    page.get_by_role("button", name="Stop").click()
    expect(box).to_have_value("Edited")
    held.free.set()
    page.get_by_role("region", name="Topic", exact=True).get_by_role("button", name="Draft", exact=True).click()
    expect(box).to_have_value("On Fever")
    with page.expect_response("**/drafts/*") as told:
        page.get_by_role("button", name="Restore the previous draft").click()
    assert told.value.json()["state"] == "offered"
    expect(box).to_have_value("Edited")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("d")
    page.get_by_text("Accept or reject the draft of Topic first").wait_for()
    with page.expect_response("**/drafts/*") as told:
        box.press("Control+Enter")
    expect(page.locator("#block-topic")).to_have_value("Edited")
    assert (told.value.json()["state"], told.value.json()["answer"]) == ("edited", "On Fever\n")


def test_a_draft_that_is_accepted_while_the_server_is_away_is_accepted(tool, page):
    box = draft(page, "Topic")
    box.fill("Kept")
    page.route("**/drafts/*", lambda route: route.abort())
    box.press("Control+Enter")
    expect(page.locator("#block-topic")).to_have_value("Kept")
    with page.expect_response("**/drafts?*"):
        page.reload()
    expect(page.locator("#block-topic")).to_have_value("Kept")
    expect(box).to_have_count(0)
    with page.expect_response("**/drafts/*") as told:
        page.unroute("**/drafts/*")
    assert (told.value.json()["state"], told.value.json()["final"]) == ("edited", "Kept")


def test_somebody_elses_entry_offers_nothing_to_decide_on(tool, opened):
    page, url = opened
    bo = person(tool, "Bo")
    with tool.database.writing() as session:
        me = people.actor_of(people.local_person(session))
        row = projects.find(session, me, "signs")
        assigning.add_member(session, me, row, "Bo")
        block = drafts.block_of(projects.read_schema(row.schema), "topic")
        entry = entries.create(session, bo, row)
        entries.save(session, bo, row, entry, {"notes": "Bo's own"}, version=1)
        key = entry.key
        drafts.write(session, row, key, block.id, "m", {}, [], None, "")
    with page.expect_response("**/drafts?entry=*"):
        page.goto(place(url, "signs", "work", "d1", key))
    page.get_by_text("Written by Bo (read only)").wait_for()
    expect(page.get_by_role("button", name="Accept")).to_have_count(0)
    expect(page.get_by_role("button", name="Reject")).to_have_count(0)


def test_a_job_is_found_again_when_one_comes_back(held, opened):
    page, url = opened
    held.free.clear()
    page.goto(place(url, "signs", "documents"))
    page.get_by_role("heading", name="3 documents").wait_for()
    page.keyboard.press("b")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("progressbar").wait_for()
    page.reload()
    page.get_by_role("progressbar").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Stop").click()
    held.free.set()
    expect(page.get_by_role("progressbar")).to_have_count(0)


def test_of_many_entries_it_is_said_how_many_are_shown_and_the_others_are_found(tool, page):
    with tool.database.writing() as session:
        me = people.actor_of(people.local_person(session))
        row = projects.find(session, me, "signs")
        entries.create(session, me, row).name = "the oldest of all"
        for _ in range(1000):
            entries.create(session, me, row)
    page.reload()
    page.get_by_role("button", name="All o").click()
    page.get_by_text(re.compile("Showing 300 of 1,0[0-9]{2};")).wait_for()
    expect(page.locator("dialog tbody tr")).to_have_count(300)
    page.get_by_label("Search in the entries").fill("the oldest of all")
    expect(page.locator("dialog tbody tr")).to_have_count(1)
    expect(page.get_by_text("Showing 300 of ")).to_have_count(0)


def test_a_field_that_may_go_to_no_llm_is_no_input_any_more(tool, opened):
    page, url = opened
    page.goto(place(url, "signs", "settings"))
    topic = page.get_by_role("group", name="Topic", exact=True)
    allowed = page.get_by_role("group", name="title", exact=True).get_by_label("May be sent to an LLM")
    expect(topic.get_by_label("field title")).to_be_checked()
    allowed.uncheck()
    expect(topic.get_by_label("field title")).to_have_count(0)
    allowed.check()
    expect(topic.get_by_label("field title")).to_be_checked()
    allowed.uncheck()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved. Existing annotations were migrated").wait_for()
    with tool.database.reading() as session:
        row = projects.find(session, people.actor_of(people.local_person(session)), "signs")
        assert row.schema["blocks"][1]["inputs"] == []
