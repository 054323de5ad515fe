"""The workspace in a real browser: a long list of documents, a slow server, all evidence at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.services import people, projects
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import client, fill, own_project
from stm_agent.testing.browser import (
    CHROMIUM,
    drag_over,
    picture,
    saved,
    showing,
    violations,
)

browsed = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")]
MANY = [
    (f"n{number:03}", {"title": f"Title {number}", "text": f"Number {number} of many.", "year": 1400 + number})
    for number in range(620)
]
SLOW = """
const ask = window.fetch;
window.fetch = async (path, options) => {
  if (options?.method === "PATCH") await new Promise((go) => setTimeout(go, 2000));
  return ask(path, options);
};
"""


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """A tool for one person with a question-answering project of many documents."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    with own_project(opened, MANY, name="Many") as (_, _, made):
        year = {**made.schema["fields"][0], "id": "year", "name": "year", "type": "number", "content": False}
        made.schema = {**made.schema, "fields": [*made.schema["fields"], year]}
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(tool, browser) -> Iterator[Page]:
    with showing(tool, browser, "many", "work", "n000") as opened:
        opened.get_by_role("heading", name="n000").wait_for()
        yield opened


def listed(page: Page):
    return page.get_by_role("region", name="Documents").locator("li")


def test_every_document_is_on_one_page_of_the_api(small):
    fill(small)
    ada = client(small, "Ada")
    ada.post("/projects/signs/documents", json={"documents": [list(one) for one in MANY]})
    keys: list[str] = []
    while True:
        told = ada.get("/projects/signs/documents", params={"offset": len(keys), "limit": 120}).json()
        if not told["documents"]:
            break
        keys += [row["key"] for row in told["documents"]]
    assert keys == ["d1", "d2", "d3", *(key for key, _ in MANY)]
    assert told["total"] == len(keys)


@browsed
def test_more_documents_come_until_all_are_listed(page):
    expect(listed(page)).to_have_count(120)
    for count in (240, 360, 480, 600, 620):
        page.get_by_role("button", name="More of 620").click()
        expect(listed(page)).to_have_count(count)
    expect(page.get_by_role("button", name="More of")).to_have_count(0)
    page.get_by_label("Search all documents").fill("619")
    expect(listed(page).first).to_contain_text("n619")
    page.get_by_label("Search all documents").fill("")
    expect(listed(page)).to_have_count(120)
    page.evaluate("document.activeElement.blur()")


@browsed
def test_the_key_goes_on_beyond_what_is_listed(page):
    listed(page).nth(119).click()
    page.get_by_role("heading", name="n119").wait_for()
    page.keyboard.press("j")
    page.get_by_role("heading", name="n120").wait_for()
    expect(listed(page)).to_have_count(240)
    page.keyboard.press("k")
    page.get_by_role("heading", name="n119").wait_for()


@browsed
def test_the_list_is_filtered_and_sorted_by_fields(page):
    page.get_by_text("Filter and sort").click()
    page.get_by_label("Filter by fields").fill("year>=1990, title~9")
    expect(listed(page)).to_have_count(12)
    page.get_by_label("Sort").select_option("year, descending")
    expect(listed(page).first).to_contain_text("n619")
    assert violations(page) == []
    picture(page, "list")
    page.get_by_label("Filter by fields").fill("year>>")
    page.get_by_label("Filter by fields").fill("no such thing")
    page.get_by_text("cannot be read").wait_for()
    page.get_by_label("Filter by fields").fill("")
    page.get_by_label("Sort").select_option("as imported")
    expect(listed(page)).to_have_count(120)
    page.evaluate("document.activeElement.blur()")


@browsed
def test_all_evidence_goes_at_once_and_comes_back(page):
    page.get_by_role("button", name="New n").click()
    page.locator("#block-question").wait_for()
    listed(page).first.get_by_role("button").click()
    text = page.get_by_role("textbox", name="text of n000")
    for words in ("Number 0", "of many"):
        drag_over(page, text, words)
        page.keyboard.press("1")
    page.get_by_role("heading", name="Evidence (2)").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("heading", name="Evidence (0)").wait_for()
    page.get_by_role("status").get_by_role("button", name="Undo").click()
    page.get_by_role("heading", name="Evidence (2)").wait_for()
    saved(page)


@browsed
def test_an_entry_is_finished_however_slow_the_server_is(tool, page):
    page.get_by_role("button", name="New n").click()
    expect(page.get_by_role("heading", name="Evidence (0)")).to_be_visible()
    page.evaluate(SLOW)
    page.locator("#block-question").fill("what?")
    saved(page, "saving")
    # Another save waits for this one when the entry is finished.
    page.locator("#block-answer").fill("that")
    page.wait_for_timeout(1000)
    saved(page, "waiting")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    page.get_by_text("Finished; its query is ready to be judged").wait_for()
    with tool.database.reading() as session:
        assert "what?" in [row["text"] for row in all_queries(session)]


def all_queries(session):
    from stm_agent.annotate.services import queries

    me = people.actor_of(people.local_person(session))
    return queries.listed(session, projects.find(session, me, "many"))


@browsed
def test_panes_are_made_wider_by_mouse_and_keys_and_stay_so(page):
    edge = page.get_by_role("separator", name="Width of the list of documents")
    pane = page.get_by_role("region", name="Documents")
    box = edge.bounding_box()
    page.mouse.move(box["x"] + 4, 300)
    page.mouse.down()
    page.mouse.move(400, 300, steps=4)
    page.mouse.up()
    expect(edge).to_have_attribute("aria-valuenow", "400")
    edge.press("ArrowLeft")
    page.reload()
    expect(edge).to_have_attribute("aria-valuenow", "376")
    assert pane.bounding_box()["width"] == 376
    right = page.get_by_role("separator", name="Width of the entry")
    right.press("ArrowLeft")
    assert page.get_by_role("region", name="Entry", exact=True).bounding_box()["width"] == 372
    assert violations(page) == []
    picture(page, "panes")
    edge.dblclick()
    expect(edge).to_have_attribute("aria-valuenow", "248")


@browsed
def test_a_search_goes_on_behind_its_first_hits(tool, browser):
    with showing(tool, browser, "many", "work", "n000") as page:
        page.get_by_role("searchbox", name="Search all documents").fill("number of many")
        expect(listed(page)).to_have_count(50)
        page.get_by_role("button", name="More", exact=True).click()
        expect(listed(page)).to_have_count(100)
        page.get_by_role("link", name="Documents").click()
        page.get_by_label("Search", exact=True).fill("number of many")
        page.get_by_role("button", name="Show more than 50").click()
        page.get_by_role("button", name="Show more than 100").wait_for()
        expect(page.locator("tbody tr")).to_have_count(100)
