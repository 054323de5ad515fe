"""The annotation tool in a real browser: blocks drafted in many entries, and a draft that is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from stm_agent.annotate.services import entries
from stm_agent.annotate.tables import Draft
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import lend_llm, own_project
from stm_agent.testing.browser import CHROMIUM, place, violations

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def free() -> threading.Event:
    """Whether the LLM answers, or waits until it may."""
    return threading.Event()


@pytest.fixture(scope="module")
def asked() -> threading.Event:
    """Whether the LLM was asked."""
    return threading.Event()


@pytest.fixture(scope="module")
def tool(tmp_path_factory, free, asked) -> Iterator[Tool]:
    """Project Signs with two entries, of which one has the question and the evidence that an answer needs."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    lend_llm(opened, lambda messages: asked.set() or f"It is hot [d1]. {free.wait(60)}")
    with own_project(opened) as (session, me, made):
        mark = {"document": "d1", "field": "text", "start": 2, "end": 8, "level": "relevant"}
        ready = entries.create(session, me, made, key="ready")
        changes = {"name": "Ready", "values": {"question": "What is it?"}, "evidence": [mark]}
        entries.save(session, me, made, ready, changes, version=1)
        entries.create(session, me, made, key="bare").name = "Bare"
    yield opened
    opened.close()


def test_a_stopped_draft_goes_at_once_and_is_kept(tool, free, asked, opened):
    page, url = opened
    free.clear()
    page.goto(place(url, "signs", "work", "d1"))
    page.get_by_label("Your entries").select_option(label="draft: Ready")
    part = page.get_by_role("region", name="Answer", exact=True)
    part.get_by_role("button", name="Draft", exact=True).click()
    part.get_by_text("Waiting for the LLM").wait_for()
    assert asked.wait(30)
    part.get_by_role("button", name="Stop").click()
    expect(part.get_by_text("Waiting for the LLM")).to_have_count(0)
    end = time.monotonic() + 30
    kept: list[str] = []
    while not kept and time.monotonic() < end:
        with tool.database.reading() as session:
            kept = list(session.scalars(select(Draft.state)))
    assert kept == ["stopped"], "though the LLM has not answered yet"
    free.set()


def test_a_block_that_needs_others_is_drafted_in_the_entries_that_lack_it(free, opened):
    page, url = opened
    free.set()
    page.goto(place(url, "signs", "documents"))
    page.get_by_role("heading", name="3 documents").wait_for()
    page.keyboard.press("b")
    page.get_by_role("heading", name="Draft for many documents or entries").wait_for()
    options = page.get_by_role("dialog").locator("option")
    assert options.all_inner_texts() == ["Answer", "my unfinished entries without this block"]
    assert violations(page) == []
    page.get_by_role("button", name="Start").click()
    page.get_by_text("1 of 2 done, 1 failed").wait_for()
    page.get_by_role("button", name="Open").click()
    page.get_by_label("Your entries").select_option(label="draft: Ready")
    box = page.get_by_label("Draft by scripted:numbered (you can edit it)")
    expect(box).to_have_value("It is hot [d1]. True")
