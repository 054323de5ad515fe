"""Documents of a book's length in a real browser: read part by part, searched and marked in all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import own_project
from stm_agent.testing.browser import CHROMIUM, drag_over, showing, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
LINE = "The 🧬 of chapter {} is told here, and told again in other words.\n"
BOOK = "".join(LINE.format(number) for number in range(8000)) + "The last words name the culprit."
"""Half a million characters, and in every line one that takes two code units."""


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """A tool for one person with a book."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    with own_project(
        opened, [("book", {"title": "A book", "text": BOOK}), ("leaf", {"text": "A leaf."})], name="Books"
    ):
        pass
    yield opened
    opened.close()


@pytest.fixture
def page(tool, browser) -> Iterator[Page]:
    with showing(tool, browser, "books", "work", "book") as opened:
        opened.get_by_role("heading", name="book").wait_for()
        yield opened


def test_the_last_words_of_a_book_are_found_and_marked(page):
    body = page.get_by_role("textbox", name="text of book")
    part = page.get_by_label("Part of text").first
    part.wait_for()
    expect(part).to_have_value("0")
    page.get_by_role("button", name="Next part").first.click()
    expect(body).to_contain_text("chapter 4000 is")
    page.get_by_label("Search in this document").fill("the culprit")
    expect(body).to_contain_text("The last words name")
    expect(page.get_by_role("button", name="Next part").first).to_be_disabled()
    expect(page.locator("mark.hit")).to_be_in_viewport()
    drag_over(page, body, "name the culprit")
    page.keyboard.press("1")
    page.get_by_role("heading", name="Evidence (1)").wait_for()
    expect(page.locator(".saved")).to_have_text("saved", timeout=15_000)
    assert violations(page) == []
    page.get_by_label("Search in this document").fill("chapter 0 is told")
    expect(part).to_have_value("0")
    expect(page.locator(".evidence")).to_have_count(0)
    page.get_by_role("region", name="Evidence").get_by_role("button", name="book").click()
    expect(page.locator(".evidence")).to_contain_text("name the culprit")
    (entry,) = page.evaluate("fetch('/api/v1/projects/books/entries').then((answer) => answer.json())")
    (mark,) = entry["evidence"]
    assert BOOK[mark["start"] : mark["end"]] == mark["text"]
    assert mark["text"].startswith("name the culprit")
