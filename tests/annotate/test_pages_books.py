"""Documents of a book's length in a real browser: read part by part, searched and marked in all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import own_project
from stm_agent.testing.browser import CHROMIUM, drag_over, saved, showing, violations

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
        opened,
        [("book", {"title": "A book", "text": BOOK}), ("leaf", {"text": "İİİİ, a leaf; a LEAF (of one)."})],
        name="Books",
    ):
        pass
    yield opened
    opened.close()


@pytest.fixture
def page(tool, browser) -> Iterator[Page]:
    with showing(tool, browser, "books", "work", "book") as opened:
        opened.get_by_role("heading", name="book", exact=True).wait_for()
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
    saved(page)
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


def test_where_one_was_in_a_book_is_found_again(page):
    part = page.get_by_label("Part of text").first
    page.get_by_role("button", name="Next part").first.click()
    page.get_by_role("button", name="leaf").click()
    page.get_by_role("heading", name="leaf").wait_for()
    page.go_back()
    page.get_by_role("heading", name="book", exact=True).wait_for()
    expect(part).to_have_value("1")
    page.reload()
    expect(part).to_have_value("1")


def test_every_hit_is_counted_and_reached(page):
    box = page.get_by_label("Search in this document")
    box.fill("TOLD")
    page.get_by_text("1 of 16,000").wait_for()
    box.press("Shift+Enter")
    page.get_by_text("16,000 of 16,000").wait_for()
    expect(page.get_by_role("textbox", name="text of book")).to_contain_text("The last words name")
    expect(page.locator("mark.hit[aria-current=true]")).to_be_in_viewport()


def test_hits_are_where_the_words_are_whatever_stands_before_them(page):
    page.get_by_role("button", name="leaf").click()
    page.get_by_role("heading", name="leaf").wait_for()
    for words, found in (("a leaf", ["a leaf", "a LEAF"]), ("leaf (", ["LEAF ("]), ("i", []), (".*", [])):
        page.get_by_label("Search in this document").fill(words)
        expect(page.locator("mark.hit")).to_have_text(found)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("strasse", ["Straße", "STRASSE"]),
        ("straße", ["Straße", "STRASSE"]),
        ("finding", ["ﬁnding"]),
        ("ﬁnding of efficacy", ["ﬁnding\n of eﬃcacy"]),
        ("(a|b) [ff", ["(a|b) [ﬀ"]),
        ("x", []),
    ],
)
def test_words_are_found_in_letters_that_fold_to_them_and_over_line_ends(page, words, found):
    text = "🧬 Straße, STRASSE: a ﬁnding\n of eﬃcacy (a|b) [ﬀ]"
    hits = page.evaluate(
        """async ([text, words]) => {
          const { findIn } = await import("/static/reader.js");
          return findIn([["text", text]], words)[0].text.map((hit) => text.slice(hit.from, hit.to));
        }""",
        [text, words],
    )
    assert hits == found


@pytest.mark.parametrize("text", ["word 🧬🧬, and " * 40_000, "字" * 450_000, "a" + "🧬" * 250_000, "leaf\n" * 3])
def test_parts_are_cut_between_words_and_leave_nothing_out(page, text):
    parts = page.evaluate(
        """async (text) => {
          const { countOf, partOf } = await import("/static/parts.js");
          return Array.from({ length: countOf(text) }, (_, number) => partOf(text, number));
        }""",
        text,
    )
    units = text.encode("utf-16-le")
    end = 0
    for part in parts:
        begin = 2 * part["from"]
        assert part["points"] == len(units[:begin].decode("utf-16-le"))
        assert begin <= end, "nothing is between two parts"
        end = begin + len(part["text"].encode("utf-16-le"))
        assert units[begin:end].decode("utf-16-le") == part["text"]
        if " " in text:
            assert part["text"].startswith(("word", "🧬🧬,", "and"))
            assert part["text"].rstrip().endswith(("word", "🧬🧬,", "and"))
    assert end == len(units)
