"""Keyboard, messages and searched words in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.services import queries, runs
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import own_project
from stm_agent.testing.browser import CHROMIUM, place, showing, shut, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
COVERED = """
() => [...document.querySelectorAll("dialog[open] button, section button, main button")].filter((button) => {
  const box = button.getBoundingClientRect();
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  if (!box.width || x < 0 || y < 0 || x > innerWidth || y > innerHeight || button.closest(".toasts")) return false;
  return document.elementFromPoint(x, y)?.closest(".toasts");
}).map((button) => button.textContent)
"""
OVERLAPPED = """
() => {
  const toast = document.querySelector(".toasts > div").getBoundingClientRect();
  return [...document.querySelectorAll("section button")].filter((button) => {
    const box = button.getBoundingClientRect();
    const pane = button.closest(".body")?.getBoundingClientRect();
    const bottom = Math.min(box.bottom, pane ? pane.bottom : innerHeight);
    return box.width && box.left < toast.right && box.right > toast.left && bottom > toast.top && box.top < toast.bottom
      && bottom > box.top;
  }).map((button) => button.textContent);
}
"""


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    opened = open_tool(tmp_path_factory.mktemp("space"))
    rows = [(f"d{n:03}", {"title": f"Sign {n}", "text": f"A raised temperature, number {n}."}) for n in range(130)]
    rows.append(("zz", {"title": "Strasse", "text": "Die Straße hat Feverish Körpertemperatur, auch 発熱. A fever."}))
    with own_project(opened, rows) as (session, me, project):
        queries.create(session, me, project, text="temperature", key="q1")
    runs.put_run(opened.database, me, "signs", "mine", {"q1": {f"d{n:03}": float(n) for n in range(12)}})
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(tool, browser) -> Iterator[Page]:
    with showing(tool, browser, "signs", "work", "d003") as opened:
        opened.get_by_role("textbox", name="text of d003").wait_for()
        yield opened


def at(page: Page, *parts: str) -> None:
    page.goto(place(page.url.split("#")[0], *parts))


def test_one_key_leads_to_the_text_and_one_to_the_first_field(page):
    page.keyboard.press("n")
    page.locator("#block-question").wait_for()
    page.keyboard.press("t")
    expect(page.get_by_role("textbox", name="text of d003")).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("1")
    expect(page.locator(".evidence")).to_have_count(1)
    page.keyboard.press("e")
    expect(page.locator("#block-question")).to_be_focused()
    page.keyboard.type("te")
    expect(page.locator("#block-question")).to_have_value("te")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("To the first field of the entry")
    shut(page)


def test_a_message_covers_no_button(page):
    page.get_by_role("button", name="Delete this evidence").first.click()
    page.get_by_text("Evidence deleted").wait_for()
    assert page.evaluate(OVERLAPPED) == []
    at(page, "signs", "judge", "q1")
    page.locator(".passage").first.wait_for()
    page.keyboard.press("Control+z")
    page.get_by_text("Nothing to undo here").wait_for()
    assert page.evaluate(OVERLAPPED) == []
    at(page, "signs", "settings")
    page.get_by_role("region", name="Splits").get_by_role("button", name="Preview the change").click()
    page.get_by_role("button", name="Save the shares").click()
    page.get_by_text("Splits saved").wait_for()
    assert page.evaluate(COVERED) == []


def test_an_open_dialog_tells_its_messages_itself(page):
    at(page, "signs", "judge", "q1")
    page.locator(".passage").first.wait_for()
    page.keyboard.press("r")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Rank", exact=True).click()
    dialog.get_by_role("status").get_by_text("passages for 1 query").wait_for()
    assert violations(page) == []
    expect(page.locator(".toasts > div")).to_have_count(0)
    shut(page)


def test_searched_words_are_marked_in_the_opened_document(page):
    at(page, "signs", "work", "d003")
    page.get_by_label("Search all documents").fill('fever körpertemperatur -cough title:strasse "発熱"')
    page.get_by_role("region", name="Documents").get_by_role("button", name="zz").click()
    body = page.get_by_role("textbox", name="text of zz")
    expect(body.locator("mark.hit")).to_have_text(["Straße", "Fever", "Körpertemperatur", "発熱", "fever"])
    page.get_by_label("Search all documents").fill("a")
    expect(body.locator("mark.hit")).to_have_text(["A"])
    page.get_by_label("Search all documents").fill("")
    expect(body.locator("mark.hit")).to_have_count(0)
    at(page, "signs", "documents", "fever")
    page.get_by_role("button", name="zz", exact=True).click()
    expect(page.get_by_role("dialog").locator("mark.hit").last).to_have_text("fever")
    shut(page)


def test_searched_words_are_marked_in_judge(page):
    at(page, "signs", "judge", "q1")
    page.locator(".passage").first.wait_for()
    page.keyboard.press("/")
    page.get_by_label("Words of the passage").fill("fever")
    page.get_by_role("dialog").get_by_role("button", name="zz").click()
    shown = page.locator(".passage[aria-current=true]")
    expect(shown.locator("mark.hit").last).to_have_text("fever")
    assert violations(page) == []


def test_the_export_dialog_fits_a_laptop(page):
    page.set_viewport_size({"width": 1280, "height": 720})
    at(page, "signs", "documents")
    page.get_by_role("button", name="Export").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("alert").wait_for()
    assert dialog.evaluate("(one) => one.scrollHeight <= one.clientHeight")
    shut(page)


def test_importing_negatives_shows_that_it_works(page):
    at(page, "signs", "review")
    page.get_by_label("Import the doubtful negatives of a run").fill("nothing")
    waiting: list = []
    page.route("**/doubts", lambda route: route.continue_() if route.request.method == "GET" else waiting.append(route))
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("button", name="Importing")).to_be_disabled()
    expect(page.get_by_role("progressbar", name="Importing negatives")).to_be_visible()
    waiting[0].continue_()
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_enabled()
    page.unroute("**/doubts")
