"""Splits on the page: shares are changed with a count of what moves, and the export dialog shows what is there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from stm_agent.annotate.services import judging, queries
from stm_agent.annotate.tool import open_tool
from stm_agent.testing.annotate import own_project
from stm_agent.testing.browser import CHROMIUM, showing, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    opened = open_tool(tmp_path_factory.mktemp("space"))
    with own_project(opened) as (session, me, project):
        for number, document in enumerate(("d1", "d2", "d3")):
            query = queries.create(session, me, project, text=f"question {number}", split="dev")
            judging.grade(session, me, project, query, document, 1)
    yield opened
    opened.close()


@pytest.fixture
def page(tool, browser) -> Iterator[Page]:
    with showing(tool, browser, "signs", "documents") as shown:
        yield shown


def test_a_missing_split_is_said_and_dealt(page):
    page.get_by_role("button", name="Export").click()
    expect(page.get_by_role("alert")).to_contain_text("No judged query is in test")
    expect(page.get_by_role("dialog")).to_contain_text("train 0, dev 3, test 0")
    assert violations(page) == []
    page.get_by_role("button", name="Change the splits").click()
    splits = page.get_by_role("region", name="Splits")
    splits.get_by_label("dev").fill("60")
    expect(splits.get_by_role("alert")).to_contain_text("110 %")
    expect(splits.get_by_role("button", name="Preview the change")).to_be_disabled()
    splits.get_by_label("test").fill("40")
    splits.get_by_role("button", name="Preview the change").click()
    expect(splits.get_by_role("status")).to_contain_text("1 query from dev to test")
    assert violations(page) == []
    splits.get_by_role("button", name="Move 1 query and save").click()
    expect(splits.get_by_text("Now: train 0, dev 2, test 1")).to_be_visible()
    page.reload()
    expect(page.get_by_role("region", name="Splits").get_by_label("dev")).to_have_value("60")
