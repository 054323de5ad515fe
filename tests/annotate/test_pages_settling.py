"""Settling in a real browser: the annotators' notes, a note of one's own, and a passage whose fields stand apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import client, fill
from stm_agent.testing.browser import CHROMIUM, enter, place, saved, serving, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
PLACE = "/projects/signs"
FIELDS = [
    {"id": "title", "name": "title", "content": True},
    {"id": "text", "name": "text", "content": True},
    {"id": "year", "name": "year", "type": "number", "metadata": True},
]


@pytest.fixture
def tool(tmp_path) -> Iterator[Tool]:
    """Bo and Cy differ on two passages, and say why on one of them."""
    opened = open_tool(tmp_path, team=True)
    fill(opened)
    ada = client(opened, "Ada")
    schema = {**ada.get(PLACE).json()["schema"], "fields": FIELDS}
    assert ada.patch(PLACE, json={"version": 1, "changes": {"schema": schema}}).is_success
    for name, grade, note in (("Bo", 3, "it names the sign"), ("Cy", 0, "")):
        for document in ("d1", "d2"):
            body = {"grade": grade, "note": note if document == "d1" else ""}
            client(opened, name).put(f"{PLACE}/queries/q1/judgements/{document}", json=body)
    yield opened
    opened.close()


@pytest.fixture
def page(tool, browser) -> Iterator[Page]:
    with serving(tool) as url:
        opened = enter(browser, url, "Ada")
        opened.goto(place(url, "signs", "agreement"))
        opened.locator(".card .text").wait_for()
        yield opened
        opened.context.close()


def test_the_notes_of_annotators_are_read_and_one_s_own_is_written(tool, page):
    card = page.locator(".card")
    expect(card).to_contain_text("it names the sign")
    assert violations(page) == []
    page.keyboard.press("c")
    page.keyboard.type("Bo is right")
    # A reload loses nothing that was typed.
    page.reload()
    page.locator(".card .text").wait_for()
    expect(page.get_by_label("Note on the final grade")).to_have_value("Bo is right")
    page.keyboard.press("3")
    page.get_by_role("heading", name="To settle (1)").wait_for()
    expect(page.get_by_label("Note on the final grade")).to_have_value("")
    saved(page)
    (row,) = client(tool, "Ada").get(f"{PLACE}/disagreements", params={"settled": True}).json()
    assert (row["document"], row["final"]["note"]) == ("d1", "Bo is right")
    page.get_by_label("Which disagreements").select_option("Settled")
    expect(card).to_contain_text("Bo is right")
    # Settled anew, the note is changed, and not lost.
    expect(page.get_by_label("Note on the final grade")).to_have_value("Bo is right")


def test_title_text_and_metadata_stand_apart(tool, page):
    card = page.locator(".card")
    expect(card.locator(".title")).to_have_text("Fever")
    expect(card.locator(".text")).to_have_text("A raised body temperature, often a sign of infection.")
    expect(card.locator("dl").first).to_contain_text("year")
    expect(card.locator("dl").first).to_contain_text("2001")
    client(tool, "Ada").post(f"{PLACE}/runs", json={"retrievers": ["bm25"]})
    page.goto(place(page.url.split("#")[0], "signs", "judge", "q1"))
    passage = page.locator(".passage", has_text="Fever")
    expect(passage.locator(".title")).to_have_text("Fever")
    expect(passage.locator(".text")).to_have_text("A raised body temperature, often a sign of infection.")
    expect(passage.locator("dl")).to_contain_text("2001")
    assert violations(page) == []
