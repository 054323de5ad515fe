"""Windows of every size in a real browser: nothing is wider than the window, and what is worked on is in sight."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.services import queries, runs
from stm_agent.annotate.tables import Doubt
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import own_project, until
from stm_agent.testing.browser import CHROMIUM, place, saved, showing

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
# A laptop, half a screen, the laptop at 150 %, a phone.
SIZES = [(1280, 720), (960, 1080), (853, 480), (390, 844)]
NARROW = SIZES[1:]
LONG = "pneumonoultramicroscopicsilicovolcanoconiosis" * 3
IDS = [f"PMC#{number}/a%20b?x={LONG if number == 1 else number}" for number in range(1, 40)]
QUERY = "q1/#%"
TOP = "(one) => one.getBoundingClientRect().top"
SCREENS = {
    "projects": (),
    "people": ("people",),
    "documents": ("signs", "documents"),
    "work": ("signs", "work", quote(IDS[0], safe="")),
    "judge": ("signs", "judge", quote(QUERY, safe="")),
    "review": ("signs", "review"),
    "agreement": ("signs", "agreement"),
    "settings": ("signs", "settings"),
}
DIALOGS = [
    ("documents", "Export e"),
    ("documents", "Import i"),
    ("judge", "Runs and pools r"),
    ("judge", "Find /"),
    ("work", "All o"),
    ("projects", "New project n"),
]


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """A project whose names and ids are long and hold ``#``, ``/`` and ``%``."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    rows = [(key, {"title": f"About {key[:9]}", "text": "A raised body temperature. " * 60}) for key in IDS]
    with own_project(opened, rows) as (session, me, project):
        project.name = f"100 % of #signs/symptoms {LONG[:150]}"
        for number in range(30):
            queries.create(session, me, project, text=f"what is sign {number} {'and more ' * 12}", key=f"q{number}/#%")
        session.add(Doubt(project_id=project.id, query="q", positive="p " * 90, negative=LONG, origin="bm25"))
    found = {key: float(90 - place) for place, key in enumerate(IDS[:9])}
    for name in ("bm25", LONG):
        runs.put_run(opened.database, me, "signs", name, {QUERY: found})
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(tool, browser) -> Iterator[Page]:
    with showing(tool, browser) as opened:
        opened.get_by_role("heading", name="Projects").wait_for()
        yield opened


def show(page: Page, size: tuple[int, int], *parts: str) -> None:
    """Open a screen anew in a window of this size."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.evaluate("document.querySelector('dialog')?.close()")
    page.goto(place(page.url.split("#")[0], "people"))
    page.evaluate("scrollTo(0, 0)")
    page.goto(place(page.url.split("#")[0], *parts))
    page.locator("main :is(h2, h3, article, tr)").first.wait_for()
    expect(page.get_by_text("Loading", exact=True)).to_have_count(0)


def width(page: Page) -> int:
    return page.evaluate("document.scrollingElement.scrollWidth")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_is_wider_than_the_window(page, size, screen):
    show(page, size, *SCREENS[screen])
    assert width(page) == size[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("screen", "button"), DIALOGS)
def test_a_dialog_is_no_wider_than_the_window(page, size, screen, button):
    show(page, size, *SCREENS[screen])
    page.get_by_role("button", name=button, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Loading", exact=True)).to_have_count(0)
    assert dialog.evaluate("(one) => one.scrollWidth <= one.clientWidth")
    assert width(page) == size[0]


def in_sight(page: Page, selector: str) -> bool:
    """Whether the top of an element is in the window."""
    top = page.locator(selector).first.evaluate(TOP)
    return bool(0 <= top < page.viewport_size["height"])


@pytest.mark.parametrize("size", NARROW)
def test_an_opened_document_is_scrolled_to(page, size):
    show(page, size, "signs", "work")
    page.get_by_role("region", name="Documents").get_by_role("button", name="PMC#7/").click()
    page.get_by_role("heading", name="PMC#7/").wait_for()
    for part in ("h2", ".text"):
        until(lambda part=part: in_sight(page, f"section[aria-label=Document] {part}"), True)


@pytest.mark.parametrize("size", NARROW)
def test_judging_keeps_the_query_in_sight(page, size):
    show(page, size, *SCREENS["judge"])
    page.locator(".passage").first.wait_for()
    for _ in range(6):
        page.keyboard.press("j")
        for part in ("section[aria-label=Passages] h2", ".passage[aria-current=true]"):
            until(lambda part=part: in_sight(page, part), True)
    # Another query is chosen far above: its passages are scrolled to.
    page.locator("section[aria-label=Queries] li button").nth(3).click()
    page.get_by_role("heading", name="what is sign 3 ").wait_for()
    assert in_sight(page, "section[aria-label=Passages] h2")
    top, bottom = page.locator("section[aria-label=Passages] .head").evaluate(
        "(one) => [one.getBoundingClientRect().top, one.getBoundingClientRect().bottom]"
    )
    assert bottom - top < size[1] / 2, "the query leaves room for passages"


@pytest.mark.parametrize("size", NARROW)
def test_a_selection_by_keys_stays_in_sight_below_the_head(page, size):
    show(page, size, *SCREENS["work"])
    body = page.get_by_role("textbox", name="text of PMC#1/")
    body.focus()
    for _ in range(12):
        page.keyboard.press("Shift+ArrowDown")
    place_of = """() => {
      const { focusNode, focusOffset } = getSelection();
      const range = document.createRange();
      range.setStart(focusNode, Math.max(focusOffset - 1, 0));
      range.setEnd(focusNode, focusOffset);
      return range.getBoundingClientRect().bottom;
    }"""
    assert 0 < page.evaluate(place_of) <= size[1]


def test_runs_show_what_holes_and_queries_that_are_not_ranked_do_to_the_measure(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(place(page.url.split("#")[0], *SCREENS["judge"]))
    page.locator(".passage").first.wait_for()
    page.keyboard.press("1")
    saved(page)
    page.keyboard.press("r")
    row = page.get_by_role("row", name="bm25")
    expect(row).to_contain_text("holes as best")
    expect(page.get_by_role("dialog")).not_to_contain_text("lower bound")
    assert page.get_by_role("dialog").evaluate("(one) => one.scrollWidth <= one.clientWidth")
