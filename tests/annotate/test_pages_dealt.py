"""Documents that are dealt out, in a real browser: given in the settings, listed to their people, done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import client, fill, until
from stm_agent.testing.browser import CHROMIUM, drag_over, enter, place, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """Project Signs of Ada's, for writing; Bo and Cy are in it, and each document is for both."""
    opened = open_tool(tmp_path_factory.mktemp("space"), team=True)
    fill(opened, "qa")
    ada = client(opened, "Ada")
    ada.patch("/projects/signs", json={"version": 1, "changes": {"overlap": 2}})
    ada.delete("/projects/signs/members/Ada")
    yield opened
    opened.close()


def screen_of(browser: Browser, url: str, name: str, screen: str) -> Page:
    page = enter(browser, url, name)
    page.goto(place(url, "signs", screen))
    return page


def listed(page: Page):
    return page.get_by_role("region", name="Documents").locator("li")


def test_an_administrator_deals_documents_that_fit(url, browser):
    page = screen_of(browser, url, "Ada", "settings")
    people = page.get_by_role("region", name="People")
    people.get_by_label("Assign").select_option("documents")
    people.get_by_label("Only with fields").fill("year>2000")
    people.get_by_role("button", name="Assign the documents").click()
    page.get_by_text("Made 4 assignments for 2 documents").wait_for()
    people.get_by_label("Only with fields").fill("")
    people.get_by_role("button", name="Assign the documents").click()
    page.get_by_text("Made 2 assignments for 3 documents").wait_for()
    expect(people.get_by_role("row", name="Bo")).to_contain_text("0 of 3")
    people.get_by_label("Only with the tag").fill("none")
    people.get_by_role("button", name="Assign the documents").click()
    page.get_by_text("No document matches; nothing was assigned").wait_for()
    people.get_by_label("Only with the tag").fill("")
    people.get_by_role("button", name="Withdraw unfinished assignments").click()
    page.get_by_text("6 assignments withdrawn").wait_for()
    people.get_by_label("People for each").fill("1")
    people.get_by_role("group", name="To whom").get_by_label("Cy").uncheck()
    people.get_by_role("button", name="Assign the documents").click()
    page.get_by_text("Made 3 assignments for 3 documents").wait_for()
    people.get_by_role("group", name="To whom").get_by_label("Cy").check()
    people.get_by_label("People for each").fill("2")
    people.get_by_role("button", name="Assign the documents").click()
    expect(people.get_by_role("row", name="Cy")).to_contain_text("0 of 3")
    assert violations(page) == []
    page.context.close()


def test_their_people_see_them_first_and_get_them_done(tool, url, browser):
    page = screen_of(browser, url, "Bo", "work")
    expect(listed(page)).to_have_count(3)
    expect(page.get_by_label("Which documents")).to_have_value("true")
    page.get_by_text("3 open of 3").wait_for()
    expect(listed(page).first).to_contain_text("open")
    listed(page).first.get_by_role("button").click()
    page.get_by_role("heading", name="d1").wait_for()
    page.keyboard.press("x")
    expect(listed(page).first).to_contain_text("✓ done")
    page.get_by_text("2 open of 3").wait_for()
    page.keyboard.press("j")
    page.get_by_role("heading", name="d2").wait_for()
    page.keyboard.press("n")
    page.locator("#block-question").fill("What is a cough?")
    page.locator("#block-answer").fill("A sudden expulsion of air.")
    drag_over(page, page.get_by_role("textbox", name="text of d2"), "sudden expulsion")
    page.keyboard.press("1")
    page.get_by_role("heading", name="Evidence (1)").wait_for()
    next_one = []
    page.route("**/entries", lambda route: next_one.append(route))
    page.get_by_role("button", name="Finish").click()
    expect(listed(page).nth(1)).to_contain_text("✓ done")
    page.get_by_text("1 open of 3").wait_for()
    until(lambda: page.wait_for_timeout(100) or len(next_one), 1)
    finished = page.get_by_text("Finished; its query is ready to be judged")
    assert finished.count() == 0, "who reopens it would be taken away from it"
    next_one[0].continue_()
    page.unroute("**/entries")
    finished.wait_for()
    assert violations(page) == []
    page.get_by_role("status").get_by_role("button", name="Reopen").click()
    expect(listed(page).nth(1)).to_contain_text("open")
    expect(page.get_by_label("State of the entry")).to_have_value("draft")
    undo = page.get_by_role("region", name="Entry").get_by_role("button", name="Undo")
    undo.click()
    expect(listed(page).nth(1)).to_contain_text("✓ done")
    page.get_by_role("status").get_by_role("button", name="Redo").click()
    expect(listed(page).nth(1)).to_contain_text("open")
    undo.click()
    expect(listed(page).nth(1)).to_contain_text("✓ done")
    page.get_by_label("Which documents").select_option("All documents")
    expect(page.get_by_text("1 open of 3")).to_have_count(0)
    expect(listed(page).filter(has_text="done")).to_have_count(0)
    page.reload()
    expect(listed(page).first).to_contain_text("d3")
    page.get_by_text("1 open of 3").wait_for()
    page.context.close()
    page = screen_of(browser, url, "Ada", "agreement")
    expect(page.get_by_role("row", name="Bo")).to_contain_text("2 of 3")
    page.context.close()


def test_a_list_that_goes_on_loses_no_document_when_some_are_done_meanwhile(tool, url, browser):
    ada = client(tool, "Ada")
    more = [(f"n{number:03}", {"title": "More", "text": "of many"}) for number in range(150)]
    ada.post("/projects/signs/documents", json={"documents": more})
    assert ada.post("/projects/signs/deal", json={"what": "documents"}).json()["dealt"] == 300
    page = screen_of(browser, url, "Cy", "work")
    expect(listed(page)).to_have_count(120)
    for key in ("d1", "d2"):
        listed(page).filter(has_text=key).get_by_role("button").click()
        page.get_by_role("heading", name=key).wait_for()
        page.keyboard.press("x")
        expect(listed(page).filter(has_text=key)).to_contain_text("✓ done")
    page.get_by_role("button", name="More of 153").click()
    expect(listed(page)).to_have_count(153)
    expect(page.get_by_role("button", name="More of 153")).to_have_count(0)
    page.context.close()
