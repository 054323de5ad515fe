"""Finished entries without a query, in a real browser: counted in the list of entries, and made into queries there."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from stm_agent.annotate.services import entries
from stm_agent.annotate.tool import open_tool
from stm_agent.testing.annotate import own_project
from stm_agent.testing.browser import CHROMIUM, showing, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture
def tool(tmp_path):
    opened = open_tool(tmp_path)
    with own_project(opened) as (session, me, project):
        for number in range(2):
            entry = entries.create(session, me, project)
            entry.values, entry.state = {"question": f"what is sign {number}?"}, "done"
    yield opened
    opened.close()


def test_one_press_makes_the_queries_of_finished_entries(tool, browser):
    with showing(tool, browser, "signs", "work") as page:
        page.get_by_role("button", name="All o").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("status")).to_contain_text("2 finished entries have no query.")
        assert violations(page) == []
        dialog.get_by_role("button", name="Make their queries").click()
        page.get_by_text("2 queries made").wait_for()
        expect(dialog.get_by_role("button", name="Make their queries")).to_have_count(0)
        page.goto(page.url.split("#")[0] + "#/signs/judge")
        expect(page.get_by_role("region", name="Queries").locator("li")).to_have_count(2)
