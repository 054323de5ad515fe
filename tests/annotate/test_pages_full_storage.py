"""A browser whose storage is full: saving goes on, and the page says that no local copy is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.services import queries, runs
from stm_agent.annotate.tool import open_tool
from stm_agent.testing.annotate import own_project, until
from stm_agent.testing.browser import CHROMIUM, drag_over, place, showing

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
FILL = """
() => {
  for (let size = 4_000_000, n = 0; size >= 1; n += 1) {
    try { localStorage.setItem(`filler ${n}`, "x".repeat(size)); } catch { size = Math.floor(size / 2); }
  }
}
"""
NO_COPY = "no local copy, the browser's storage is full"


@pytest.fixture
def tool(tmp_path):
    opened = open_tool(tmp_path)
    with own_project(opened) as (session, me, project):
        queries.create(session, me, project, text="high temperature", key="q1")
    runs.put_run(opened.database, me, "signs", "mine", {"q1": {"d1": 2.0, "d2": 1.0}})
    yield opened
    opened.close()


@pytest.fixture
def page(tool, browser) -> Iterator[Page]:
    with showing(tool, browser, "signs", "work") as shown:
        yield shown


def fetched(page: Page, path: str):
    return page.evaluate("(path) => fetch(`/api/v1/projects/signs/${path}`).then((answer) => answer.json())", path)


def test_an_entry_is_saved_without_a_local_copy_and_the_page_says_so(page):
    page.get_by_role("button", name="d1 Fever").click()
    page.keyboard.press("n")
    page.locator("#block-question").wait_for()
    page.evaluate(FILL)
    page.locator("#block-question").fill("What is a fever?")
    expect(page.locator(".saved")).to_have_text(f"saved; {NO_COPY}")
    drag_over(page, page.get_by_role("textbox", name="text of d1"), "raised body temperature")
    page.keyboard.press("1")
    expect(page.get_by_role("heading", name="Evidence (1)")).to_be_visible()
    until(lambda: [len(row["evidence"]) for row in fetched(page, "entries")], [1])
    assert fetched(page, "entries")[0]["values"] == {"question": "What is a fever?"}
    # There is room again: what is typed next has its copy.
    page.evaluate("localStorage.clear()")
    page.locator("#block-question").fill("What is fever?")
    expect(page.locator(".saved")).to_have_text("saved")


def test_a_grade_is_saved_without_a_local_copy_and_the_page_says_so(page):
    page.goto(place(page.url.split("#")[0], "signs", "judge", "q1"))
    page.locator(".passage").first.wait_for()
    page.evaluate(FILL)
    page.keyboard.press("1")
    expect(page.locator(".saved")).to_have_text(f"saved; {NO_COPY}")
    assert sorted(str(row["grade"]) for row in fetched(page, "queries/q1/pool")) == ["1", "None"]


def test_what_the_server_refuses_to_take_is_not_said_to_be_saved(page):
    page.goto(place(page.url.split("#")[0], "signs", "judge", "q1"))
    page.locator(".passage").first.wait_for()
    page.evaluate(FILL)
    page.route("**/judgements/**", lambda route: route.abort())
    page.keyboard.press("1")
    expect(page.locator(".saved")).to_have_text(f"not saved; {NO_COPY}")
    page.unroute("**/judgements/**")
    expect(page.locator(".saved")).to_have_text(f"saved; {NO_COPY}")


def test_settings_say_that_what_is_typed_has_no_copy(page):
    page.goto(place(page.url.split("#")[0], "signs", "settings"))
    page.get_by_role("heading", name="Blocks").wait_for()
    page.evaluate(FILL)
    page.get_by_label("Description").first.fill("typed")
    expect(page.get_by_text(NO_COPY)).to_be_visible()
    page.keyboard.press("Control+s")
    expect(page.locator(".saved")).to_have_text("Saved")
    assert fetched(page, "")["description"] == "typed"
