"""A server that is away or started anew, in a real browser: what is not done is said, nothing is done blind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.services import encoding, searching
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import client, fill, own_project
from stm_agent.testing.browser import CHROMIUM, enter, new_page, place, port_of, saved, serving, violations
from stm_agent.testing.slow_model import SlowModel, lend

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
ADDRESS = "Open the address that the command printed"


@pytest.fixture
def alone(tmp_path) -> Iterator[Tool]:
    """A tool for one person with project Signs."""
    opened = open_tool(tmp_path)
    with own_project(opened):
        pass
    yield opened
    opened.close()


def begin(page: Page, url: str) -> None:
    """Open a document and begin an entry for it."""
    page.goto(place(url, "signs", "work", "d1"))
    page.get_by_role("button", name="New n").click()
    page.locator("#block-question").fill("what is it?")
    page.locator("#block-answer").fill("that")
    saved(page, "saved")
    page.evaluate("document.activeElement.blur()")


def test_an_entry_that_cannot_be_finished_stays_as_it_was_and_says_so(alone, browser):
    with serving(alone) as url:
        page = new_page(browser, url)
        begin(page, url)
        page.get_by_label("State of the entry").select_option("flagged")
        saved(page, "saved")
        page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    page.get_by_text("The server does not answer, so the entry is not finished").wait_for()
    expect(page.get_by_label("State of the entry")).to_have_value("flagged")
    assert violations(page) == []
    with serving(alone, port=port_of(url)):
        saved(page, "saved")
        expect(page.get_by_label("State of the entry")).to_have_value("flagged")
        page.keyboard.press("f")
        page.get_by_text("Finished; its query is ready to be judged").wait_for()
        page.context.close()


def test_a_document_is_done_with_once_the_server_is_back(small, browser):
    fill(small, "qa")
    client(small, "Ada").post("/projects/signs/deal", json={"what": "documents"})
    bo = client(small, "Bo")

    def done() -> bool:
        return bo.get(f"/projects/signs/documents/{key}").json()["done"]

    with serving(small) as url:
        page = enter(browser, url, "Bo")
        page.goto(place(url, "signs", "work"))
        row = page.get_by_role("region", name="Documents").locator("li").first
        row.get_by_role("button").click()
        page.get_by_role("button", name="Mark as done").wait_for()
        key = row.locator("b").inner_text()
    page.keyboard.press("x")
    expect(row).to_contain_text("✓ done")
    saved(page, "not saved")
    assert violations(page) == []
    assert not done()
    with serving(small, port=port_of(url)):
        expect(page.locator(".saved")).to_have_count(0)
        assert done()
        expect(row).to_contain_text("✓ done")
        page.keyboard.press("x")
        expect(row).to_contain_text("open")
        page.context.close()


def test_nothing_is_settled_before_its_text_is_there_and_the_next_text_is_there_already(small, browser):
    fill(small)
    for name, grade in (("Bo", 3), ("Cy", 0)):
        for document in ("d1", "d2"):
            client(small, name).put(f"/projects/signs/queries/q1/judgements/{document}", json={"grade": grade})
    with serving(small) as url:
        page = enter(browser, url, "Ada")
        page.route("**/projects/signs/documents/*", lambda route: route.abort())
        page.goto(place(url, "signs", "agreement"))
        page.get_by_text("the server does not answer").wait_for()
        grades = page.get_by_role("group", name="Final grade").get_by_role("button")
        expect(grades.first).to_be_disabled()
        page.keyboard.press("1")
        expect(page.get_by_role("heading", name="To settle (2)")).to_be_visible()
        assert violations(page) == []
        page.unroute("**/projects/signs/documents/*")
        with page.expect_response("**/projects/signs/documents/d2"):
            page.locator(".card .text").wait_for()
        expect(page.locator(".card .title")).to_have_text("Fever")
    page.keyboard.press("1")
    page.get_by_role("heading", name="To settle (1)").wait_for()
    expect(page.locator(".card .title")).to_have_text("Cough")
    expect(grades.first).to_be_enabled()
    page.context.close()


def test_who_works_alone_is_sent_to_the_new_address_and_goes_on(alone, browser):
    with serving(alone) as url:
        page = new_page(browser, url)
        begin(page, url)
    alone.close()
    again = open_tool(alone.folder.parent)
    with serving(again, port=port_of(url)) as address:
        page.locator("#block-question").fill("typed after the restart")
        page.get_by_role("dialog").get_by_text(ADDRESS).wait_for()
        assert violations(page) == []
        other = page.context.new_page()
        other.goto(place(url, "signs", "work", "d1"))
        other.get_by_text(ADDRESS).wait_for()
        expect(other.get_by_label("Password")).to_have_count(0)
        assert violations(other) == []
        other.goto(address)
        other.get_by_role("link", name="Signs").wait_for()
        # Nobody clicks here.
        expect(page.get_by_role("dialog")).to_have_count(0)
        saved(page, "saved")
        page.context.close()
    again.close()


def test_a_page_that_nobody_touches_says_that_the_server_is_gone_and_where_to_go_on(alone, browser):
    with serving(alone) as url:
        page = new_page(browser, url)
        page.get_by_role("link", name="Signs").wait_for()
    page.get_by_role("alert").get_by_text("Connection to the server lost").wait_for()
    assert violations(page) == []
    alone.close()
    again = open_tool(alone.folder.parent)
    with serving(again, port=port_of(url)) as address:
        page.get_by_role("dialog").get_by_text(ADDRESS).wait_for()
        expect(page.get_by_role("alert")).to_have_count(0)
        other = page.context.new_page()
        other.goto(address)
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.context.close()
    again.close()


def test_a_team_s_page_that_nobody_touches_says_when_the_server_is_gone_and_back(small, browser):
    fill(small)
    with serving(small) as url:
        page = enter(browser, url, "Bo")
    page.get_by_role("alert").get_by_text("Connection to the server lost").wait_for()
    with serving(small, port=port_of(url)):
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.context.close()


def test_whoever_works_alone_is_offered_no_invitation(alone, small, browser):
    with serving(alone) as url:
        page = new_page(browser, url)
        page.goto(place(url, "people"))
        page.get_by_text("stm-agent annotate --team").wait_for()
        expect(page.get_by_role("button", name="Invite somebody")).to_have_count(0)
        page.goto(place(url, "signs", "settings"))
        page.get_by_role("region", name="People").get_by_text("stm-agent annotate --team").wait_for()
        page.context.close()


def test_progress_that_is_not_known_is_said_to_be_so(alone, browser, monkeypatch):
    slow = lend(alone, SlowModel(may=0), "first")
    monkeypatch.setattr(searching, "WAITED_FOR", 1)
    monkeypatch.setattr(encoding, "PART", 1)
    with serving(alone) as url:
        page = new_page(browser, url)
        page.goto(place(url, "signs", "documents"))
        page.get_by_role("combobox").filter(has_text="meaning").select_option("dense")
        page.get_by_label("Search", exact=True).fill("fever")
        page.get_by_role("button", name="Encode the documents").click()
        page.get_by_text("encoding by first").wait_for()
    page.get_by_text("current progress unknown: the server does not answer").wait_for()
    assert violations(page) == []
    with serving(alone, port=port_of(url)):
        expect(page.get_by_text("is not known")).to_have_count(0)
        for _ in range(9):
            slow.may.release()
        page.get_by_role("columnheader", name="Score").wait_for()
        page.context.close()
