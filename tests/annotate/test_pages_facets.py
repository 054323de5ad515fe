"""Narrowing a list by its values, and documents like one, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import own_project
from stm_agent.testing.browser import CHROMIUM, showing, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
WARDS = ["eye", "skin, hair", "skin, hair", "eye"]


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """A tool for one person whose documents have a ward, which no schema names."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    rows = [
        (f"n{number}", {"text": f"Note {number} about a patient's {ward}.", "ward": ward})
        for number, ward in enumerate(WARDS)
    ]
    with own_project(opened, rows, name="Notes", template="judging"):
        pass
    yield opened
    opened.close()


@pytest.fixture
def page(tool, browser) -> Iterator[Page]:
    with showing(tool, browser, "notes", "documents") as opened:
        opened.get_by_role("button", name="n0").wait_for()
        yield opened


def listed(page: Page) -> list[str]:
    return page.locator("tbody tr td:first-child").all_inner_texts()


def test_a_list_and_a_search_are_narrowed_by_a_value(page):
    page.get_by_text("Narrow by values").click()
    page.get_by_role("region", name="ward").get_by_role("button", name="skin, hair").click()
    expect(page.get_by_role("button", name="n0")).to_have_count(0)
    assert listed(page) == ["n1", "n2"]
    expect(page.get_by_label("Filter by fields")).to_have_value('ward="skin, hair"')
    assert violations(page) == []
    page.get_by_label("Filter by fields").fill("")
    page.get_by_label("Search", exact=True).fill("note")
    expect(page.get_by_role("columnheader", name="Score")).to_be_visible()
    page.get_by_role("region", name="ward").get_by_role("button", name="eye").click()
    expect(page.get_by_label("Search", exact=True)).to_have_value("note ward:eye")
    expect(page.get_by_role("button", name="n1")).to_have_count(0)
    assert sorted(listed(page)) == ["n0", "n3"]


def test_documents_like_one_are_listed(page):
    page.get_by_role("button", name="n1").click()
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("tbody tr").first).to_have_text(re.compile("n2"))
    assert "n1" not in listed(page)
    assert violations(page) == []
    page.get_by_role("button", name="Similar to n1").click()
    expect(page.locator("tbody tr")).to_have_count(4)
