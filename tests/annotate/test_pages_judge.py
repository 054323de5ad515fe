"""The judging screen in a real browser: faster than the server, long passages, notes, and two who change one thing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import client, fill, until
from stm_agent.testing.browser import CHROMIUM, log_in, new_page, place, saved, serving, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
LONG = "fever " * 2000 + "and the very last words"


@pytest.fixture
def tool(tmp_path) -> Iterator[Tool]:
    """Project Signs, its first query with a pool of three passages, one of them long."""
    opened = open_tool(tmp_path, team=True)
    fill(opened)
    ada = client(opened, "Ada")
    ada.post("/projects/signs/documents", json={"documents": [["long", {"text": LONG}]]})
    run = "".join(f"q1 Q0 {key} {rank} {9 - rank} mine\n" for rank, key in enumerate(("long", "d1", "d2"), 1))
    assert ada.post("/projects/signs/runs/trec", files={"file": ("run.txt", run)}).json()["documents"] == 3
    yield opened
    opened.close()


@pytest.fixture
def page(tool, browser) -> Iterator[Page]:
    with serving(tool) as url:
        opened = new_page(browser, url)
        log_in(opened, "Bo")
        opened.get_by_role("link", name="Signs").wait_for()
        opened.goto(place(url, "signs", "judge", "q1"))
        opened.locator(".passage").first.wait_for()
        yield opened
        opened.context.close()


def kept(tool: Tool, name: str = "Bo") -> dict[str, tuple[int | None, str]]:
    rows = client(tool, name).get("/projects/signs/queries/q1/pool").json()
    return {row["document"]: (row["grade"], row["note"]) for row in rows}


def test_whoever_grades_faster_than_the_server_answers_loses_no_grade(tool, page):
    def slow(route):
        time.sleep(0.4)
        route.continue_()

    page.route("**/judgements/**", slow)
    order = [row["document"] for row in client(tool, "Bo").get("/projects/signs/queries/q1/pool").json()]
    for key in ("1", "2", "3"):
        page.keyboard.press(key)
    expect(page.locator(".passage [aria-pressed=true]")).to_have_count(3)
    page.get_by_label("Passage 1", exact=True).locator(".text").click()
    page.keyboard.press("0")
    page.keyboard.press("f")
    page.get_by_text("Query finished; here is the next one").wait_for()
    assert {key: grade for key, (grade, _) in kept(tool).items()} == dict(zip(order, (0, 2, 3), strict=True))
    expect(page.get_by_text("Error:")).to_have_count(0)


def test_undo_takes_back_what_was_said_last(tool, page):
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("Control+z")
    expect(page.locator(".passage [aria-pressed=true]")).to_have_count(1)
    until(lambda: sorted(str(grade) for grade, _ in kept(tool).values()), ["1", "None", "None"])


def test_a_long_passage_is_read_to_its_end(page):
    expect(page.get_by_text("the very last words")).to_have_count(0)
    page.get_by_role("button", name="Show all").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("the very last words")).to_have_count(1)
    assert violations(page) == []
    page.get_by_text("fever fever").first.click()
    page.keyboard.press("o")
    expect(page.get_by_text("the very last words")).to_have_count(0)


def test_a_note_saves_itself_while_one_types(tool, page):
    page.keyboard.press("2")
    page.keyboard.press("k")
    page.keyboard.press("c")
    page.keyboard.type("half of it")
    until(lambda: sorted(note for _, note in kept(tool).values()), ["", "", "half of it"])
    assert page.evaluate("document.activeElement.tagName") == "INPUT", "it is still being typed"


def test_of_two_who_change_a_query_the_second_sees_what_is_there(tool, page):
    bo = client(tool, "Bo")
    page.keyboard.press("q")
    page.get_by_label("Query", exact=True).fill("mine")
    row = bo.get("/projects/signs/queries").json()[0]
    body = {"version": row["version"], "changes": {"text": "theirs"}}
    assert client(tool, "Cy").patch("/projects/signs/queries/q1", json=body).status_code == 200
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("cell", name="theirs").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Keep mine").click()
    page.get_by_role("heading", name="mine").wait_for()
    assert bo.get("/projects/signs/queries").json()[0]["text"] == "mine"


def test_a_mistaken_query_is_deleted(tool, page):
    page.keyboard.press("n")
    page.get_by_label("Query", exact=True).fill("mistaken")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("heading", name="mistaken").wait_for()
    page.keyboard.press("q")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete permanently").click()
    page.get_by_text("Query deleted").wait_for()
    page.get_by_role("heading", name="high temperature").wait_for()
    assert [row["key"] for row in client(tool, "Bo").get("/projects/signs/queries").json()] == ["q1", "q2"]


def test_a_passage_that_no_run_found_is_searched_and_graded(tool, page):
    page.get_by_text("0 of 3 judged").wait_for()
    page.keyboard.press("/")
    page.get_by_label("Words of the passage").fill("skin's colour")
    page.get_by_role("button", name="d3").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="d3").click()
    page.get_by_text("0 of 4 judged").wait_for()
    expect(page.locator(".passage[aria-current=true]")).to_contain_text("A change of the skin")
    page.keyboard.press("2")
    saved(page)
    page.get_by_text("1 of 4 judged").wait_for()
    graded = {row["document"]: row["grade"] for row in client(tool, "Bo").get("/projects/signs/queries/q1/pool").json()}
    assert graded["d3"] == 2
    page.keyboard.press("/")
    page.get_by_label("Words of the passage").fill("skin's colour")
    page.get_by_text("in the pool").wait_for()
