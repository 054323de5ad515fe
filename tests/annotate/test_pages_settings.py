"""The settings and the wizard in a real browser: two who change them, grades of a level that goes, a closed tab."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import client, fill
from stm_agent.testing.browser import CHROMIUM, log_in, new_page, place, serving, shut, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
SAVED = "Saved. Existing annotations were migrated"
CHOOSE_AT_ONCE = """() => new MutationObserver((changes, observer) => {
  const select = document.querySelector("dialog select");
  if (!select) return;
  observer.disconnect();
  select.value = "1";
  select.dispatchEvent(new Event("change", { bubbles: true }));
}).observe(document.body, { childList: true, subtree: true })"""
"""Chooses grade 1 in the next dialog as soon as it is drawn, earlier than an effect of the page can run."""


@pytest.fixture
def tool(tmp_path) -> Iterator[Tool]:
    opened = open_tool(tmp_path, team=True)
    fill(opened)
    yield opened
    opened.close()


@pytest.fixture
def page(tool, browser) -> Iterator[Page]:
    """Ada's page: the settings of project Signs."""
    with serving(tool) as url:
        opened = new_page(browser, url)
        log_in(opened, "Ada")
        opened.get_by_role("link", name="Signs").wait_for()
        opened.goto(place(url, "signs", "settings"))
        opened.get_by_role("heading", name="Blocks").wait_for()
        yield opened
        opened.context.close()


def test_of_two_who_change_the_settings_the_second_sees_what_is_there(tool, page):
    ada = client(tool, "Ada")
    page.get_by_label("Description").first.fill("mine")
    body = {"version": ada.get("/projects/signs").json()["version"], "changes": {"description": "theirs"}}
    assert ada.patch("/projects/signs", json=body).status_code == 200
    page.keyboard.press("Control+s")
    page.get_by_role("cell", name="theirs").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Keep theirs").click()
    expect(page.get_by_label("Description").first).to_have_value("theirs")
    page.get_by_label("Description").first.fill("after all mine")
    page.keyboard.press("Control+s")
    page.get_by_text(SAVED).wait_for()
    assert ada.get("/projects/signs").json()["description"] == "after all mine"


def test_a_level_that_was_used_goes_once_its_grades_have_a_place(tool, page):
    ada = client(tool, "Ada")
    for document, grade in (("d1", 3), ("d2", 2)):
        ada.put(f"/projects/signs/queries/q1/judgements/{document}", json={"grade": grade})
    page.get_by_role("group", name="Answers it").get_by_role("button", name="Remove").click()
    page.keyboard.press("Control+s")
    place_of = page.get_by_label("1 of grade 3 (Answers it) become")
    expect(place_of).to_have_value("2")
    assert violations(page) == []
    shut(page)
    assert ada.get("/projects/signs/export/qrels").text == "q1 0 d1 3\nq1 0 d2 2\n", "nothing was saved"
    page.evaluate(CHOOSE_AT_ONCE)
    page.get_by_role("button", name="Save", exact=False).first.click()
    expect(place_of).to_have_value("1")
    page.get_by_role("button", name="Move them and save").click()
    page.get_by_text(SAVED).wait_for()
    expect(page.get_by_role("group", name="Answers it")).to_have_count(0)
    assert ada.get("/projects/signs/export/qrels").text == "q1 0 d1 1\nq1 0 d2 2\n"


def test_settings_that_were_not_saved_survive_a_closed_tab_and_can_be_taken_back(tool, page):
    page.get_by_label("Description").first.fill("half written")
    page.get_by_text("Not saved yet").wait_for()
    page.reload()
    expect(page.get_by_label("Description").first).to_have_value("half written")
    page.get_by_role("button", name="Discard changes", exact=True).click()
    expect(page.get_by_label("Description").first).to_have_value("")
    expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    assert client(tool, "Ada").get("/projects/signs").json()["description"] == ""


def test_a_wizard_that_was_left_goes_on_where_it_was(tool, page):
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.get_by_role("button", name="New project").click()
    page.get_by_label("Name").fill("Second")
    page.get_by_role("button", name="Next: Document fields").click()
    page.get_by_role("button", name="Add a field").click()
    page.get_by_role("group", name="field 3").get_by_label("Name in the documents").fill("year")
    page.reload()
    page.get_by_role("button", name="New project").click()
    expect(page.get_by_role("group", name="year")).to_be_visible()
    page.get_by_role("button", name="Start over").click()
    expect(page.get_by_label("Name")).to_have_value("")
    page.get_by_label("Name").fill("Third")
    page.get_by_role("button", name="Create now").click()
    page.get_by_role("heading", name="0 documents").wait_for()
    names = sorted(row["name"] for row in client(tool, "Ada").get("/projects").json())
    assert names == ["Signs", "Third"]
