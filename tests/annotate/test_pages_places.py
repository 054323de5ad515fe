"""Where one is, in a real browser: kept in the address, found again by a reload and by Back, told by the title."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from stm_agent.annotate.services import queries
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import own_project
from stm_agent.testing.browser import CHROMIUM, drag_over, saved, showing, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
COUNT = 450


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """A tool for one person with project Signs and more queries than a list shows."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    with own_project(opened) as (session, me, made):
        for number in range(COUNT):
            queries.create(session, me, made, text=f"query number {number:03}", key=f"q{number:03}")
    yield opened
    opened.close()


def test_a_document_and_its_entry_are_found_again_by_a_reload_and_by_back(tool, browser):
    with showing(tool, browser, "signs") as page:
        page.get_by_label("Search", exact=True).fill("fever")
        page.get_by_role("columnheader", name="Score").wait_for()
        page.get_by_role("button", name="d1", exact=True).click()
        page.get_by_role("button", name="Annotate this document").click()
        page.get_by_role("heading", name="d1").wait_for()
        page.get_by_role("button", name="New n").click()
        page.locator("#block-question").fill("what is it?")
        saved(page)
        page.get_by_role("region", name="Documents").locator("li").nth(1).get_by_role("button").click()
        page.get_by_role("heading", name="d2").wait_for()
        page.reload()
        page.get_by_role("heading", name="d2").wait_for()
        expect(page.locator("#block-question")).to_have_value("what is it?")
        page.get_by_role("link", name="Annotate").click()
        page.get_by_role("heading", name="d2").wait_for()
        page.go_back()
        page.get_by_role("heading", name="d1").wait_for()
        expect(page.locator("#block-question")).to_have_value("what is it?")
        page.go_back()
        expect(page.get_by_label("Search", exact=True)).to_have_value("fever")
        expect(page.locator("tbody tr")).to_have_count(2)


def test_whoever_has_left_a_screen_is_not_brought_back_by_it(tool, browser):
    with showing(tool, browser, "signs", "work", "d1") as page:
        page.get_by_role("heading", name="d1").wait_for()
        with page.expect_response("**/entries") as begun:
            page.route(
                "**/entries", lambda route: (page.evaluate("location.hash = '#/signs/judge'"), route.continue_())
            )
            page.get_by_role("button", name="New n").click()
        assert begun.value.ok
        page.get_by_role("heading", name="query number 000").wait_for()
        expect(page).to_have_url(page.url.split("#")[0] + "#/signs/judge/q000")


def test_the_query_that_was_open_is_found_again_among_many(tool, browser):
    with showing(tool, browser, "signs", "judge") as page:
        page.get_by_role("heading", name="query number 000").wait_for()
        rows = page.get_by_role("region", name="Queries").locator("li")
        expect(rows).to_have_count(200)
        page.get_by_text(f"Showing 200 of {COUNT}").wait_for()
        page.keyboard.press("s")
        page.keyboard.type("NUMBER 433")
        expect(rows).to_have_count(1)
        assert violations(page) == []
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="query number 433").wait_for()
        page.reload()
        page.get_by_role("heading", name="query number 433").wait_for()
        expect(rows.filter(has_text="number 433").locator("[aria-current=true]")).to_have_count(1)
        expect(rows).to_have_count(COUNT - (433 - 100))
        page.get_by_label("Search queries").fill("no such words")
        page.get_by_text("No query matches.").wait_for()
        page.go_back()
        page.get_by_role("heading", name="query number 000").wait_for()


def test_the_title_tells_project_and_screen(tool, browser):
    with showing(tool, browser, "signs", "work") as page:
        expect(page).to_have_title("Annotate - Signs - stm-agent annotate")
        for key, title in (
            ("d", "Documents - Signs"),
            ("j", "Judge - Signs"),
            ("l", "People, LLMs"),
            ("p", "Projects"),
        ):
            page.keyboard.press("g")
            page.keyboard.press(key)
            expect(page).to_have_title(f"{title} - stm-agent annotate")


def test_evidence_is_told_by_a_screen_reader_and_its_label_is_none_of_the_text(tool, browser):
    with showing(tool, browser, "signs", "work", "d1") as page:
        # The entry that was begun last comes by itself.
        page.locator("#block-question").wait_for()
        drag_over(page, page.get_by_role("textbox", name="text of d1"), "body temperature")
        page.keyboard.press("1")
        mark = page.get_by_role("mark")
        expect(mark).to_have_text("body temperature")
        assert mark.evaluate("(one) => getComputedStyle(one, '::before').content").startswith('"Relevant"')
        tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
        told = {node["role"]["value"]: node for node in tree["nodes"] if not node["ignored"]}
        assert told["mark"]["description"]["value"] == "evidence: Relevant"
        texts = [node["value"]["value"] for node in tree["nodes"] if "value" in node]
        assert "A raised body temperature, often a sign of infection." in texts
        assert violations(page) == []
