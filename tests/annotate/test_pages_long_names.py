"""The annotation tool in a real browser: names as long as they may be fit, an export tells what it leaves out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from stm_agent.annotate.services import assigning, judging, llms, queries
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import own_project, person
from stm_agent.testing.browser import CHROMIUM, showing

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
NAMES = [letter * 200 for letter in "wmn"]


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """Project Signs with two queries, on one of which two people of long names differ."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    people = [person(opened, name) for name in NAMES]
    with own_project(opened, template="judging") as (session, me, project):
        llms.put(session, me, opened.vault, {"name": NAMES[0], "model": f"openai/{NAMES[1]}"})
        first = queries.create(session, me, project, text="high temperature", key="q1")
        queries.create(session, me, project, text="skin is red", key="q2")
        for score, one in enumerate(people[:2]):
            assigning.add_member(session, me, project, one.name)
            judging.grade(session, one, project, first, "d1", score)
            judging.grade(session, one, project, first, "d2", 1)
    yield opened
    opened.close()


@pytest.mark.parametrize("parts", [("people",), ("signs", "settings"), ("signs", "agreement")])
def test_long_names_do_not_widen_the_page(tool, browser, parts):
    with showing(tool, browser, *parts) as page:
        page.locator("th[scope=row]", has_text=NAMES[0]).first.wait_for()
        expect(page.get_by_text("Loading", exact=True)).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") == 1280


def test_an_export_tells_what_it_leaves_out(tool, browser):
    with showing(tool, browser, "signs", "documents") as page:
        page.get_by_role("button", name="Export").click()
        page.get_by_role("button", name="BEIR folder").click()
        page.get_by_text("left out: 1 query without a passage judged above 0").wait_for()


def test_an_address_with_a_percent_sign_does_not_break_the_page(tool, browser):
    with showing(tool, browser, "signs", "documents") as page:
        for hash in ("#/%", "#/signs/work/100%"):
            page.evaluate("(hash) => { location.hash = hash; }", hash)
            page.reload()
            page.get_by_role("alert").first.wait_for()
            expect(page.get_by_role("link", name="All projects")).to_be_visible()
