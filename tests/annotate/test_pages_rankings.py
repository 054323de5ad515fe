"""The annotation tool in a real browser: what a model takes long for is watched, left alone and stopped."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.services import encoding, queries, runs, searching
from stm_agent.annotate.services.turns import SLICE
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import lend_llm, own_project
from stm_agent.testing.browser import CHROMIUM, place, shut, violations
from stm_agent.testing.slow_model import SlowModel, lend

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
COUNT = 2 * encoding.PART
TURNS = encoding.PART // SLICE
"""Turns at a model in which it encodes a part."""


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> Iterator[Tool]:
    """Project Signs with documents for two parts of a model's work, and a query."""
    opened = open_tool(tmp_path_factory.mktemp("space"))
    rows = [(f"d{number}", {"text": f"temperature {number}"}) for number in range(COUNT)]
    with own_project(opened, rows, template="judging") as (session, me, made):
        queries.create(session, me, made, text="high temperature", key="q1")
    yield opened
    opened.close()


def test_documents_are_encoded_where_a_search_needs_it_and_then_found(tool, opened, monkeypatch):
    page, url = opened
    slow = lend(tool, SlowModel(may=TURNS), "first")
    monkeypatch.setattr(searching, "WAITED_FOR", 10)
    page.goto(place(url, "signs", "documents"))
    page.get_by_role("combobox").filter(has_text="meaning").select_option("dense")
    page.get_by_label("Search", exact=True).fill("high temperature")
    page.get_by_text(f"first has encoded 0 of {COUNT} documents").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Encode the documents").click()
    page.get_by_text(f"encoding by first: {encoding.PART} of {COUNT}").wait_for()
    assert violations(page) == []
    page.reload()
    page.get_by_role("combobox").filter(has_text="meaning").select_option("dense")
    page.get_by_label("Search", exact=True).fill("temperature")
    page.get_by_text(f"encoding by first: {encoding.PART} of {COUNT}").wait_for()
    slow.may.release(9 * TURNS)
    page.get_by_role("columnheader", name="Score").wait_for()
    expect(page.get_by_text("has encoded")).to_have_count(0)
    expect(page.get_by_role("row")).to_have_count(50 + 1)


def test_a_ranking_goes_on_when_its_dialog_is_closed_and_is_told_at_the_end(tool, opened):
    page, url = opened
    slow = lend(tool, SlowModel(may=TURNS), "second")
    slow.identity = "another"
    page.goto(place(url, "signs", "judge"))
    page.get_by_role("heading", name="high temperature").wait_for()
    page.keyboard.press("r")
    page.get_by_label("second").check()
    page.get_by_role("button", name="Rank", exact=True).click()
    shown = page.get_by_text(f"ranking the queries: {encoding.PART + 1} of {COUNT + 3}")
    shown.wait_for()
    page.get_by_text("This continues when the dialog is closed.").wait_for()
    expect(page.get_by_role("rowheader", name="bm25")).to_have_count(0)
    assert violations(page) == []
    shut(page)
    page.keyboard.press("r")
    shown.wait_for()
    shut(page)
    slow.may.release(9 * TURNS)
    told = page.get_by_text("bm25: 100 passages for 1 query; second: 100 passages for 1 query")
    expect(told).to_have_count(1)
    page.locator(".passage").first.wait_for()


def test_a_ranking_is_stopped(tool, opened):
    page, url = opened
    slow = lend(tool, SlowModel(may=TURNS), "third")
    slow.identity = "yet another"
    page.goto(place(url, "signs", "judge"))
    page.get_by_role("heading", name="high temperature").wait_for()
    page.keyboard.press("r")
    page.get_by_label("third").check()
    page.get_by_role("button", name="Rank", exact=True).click()
    page.get_by_text("ranking the queries: 257 of").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    page.get_by_text("the ranking was stopped; finished parts are kept").wait_for()
    expect(page.get_by_role("button", name="Rank", exact=True)).to_be_enabled()
    slow.may.release(TURNS)
    shut(page)


def pooled(tool, page, url):
    """Open the runs of the project, which has a run of twelve passages."""
    run = {"q1": {f"d{number}": float(number) for number in range(12)}}
    runs.put_run(tool.database, Actor(1, "", "admin"), "signs", "mine", run)
    page.goto(place(url, "signs", "judge"))
    page.get_by_role("heading", name="high temperature").wait_for()
    page.keyboard.press("r")
    page.get_by_role("rowheader", name="mine").wait_for()


def test_a_run_is_removed_by_two_presses(tool, opened):
    page, url = opened
    pooled(tool, page, url)
    row = page.get_by_role("rowheader", name="mine")
    page.get_by_role("button", name="Remove mine").click()
    expect(row).to_have_count(1)
    assert violations(page) == []
    page.get_by_role("button", name="Remove permanently").click()
    page.get_by_text("mine is removed").wait_for()
    expect(row).to_have_count(0)
    shut(page)


def test_calls_are_counted_before_an_llm_is_asked(tool, opened):
    page, url = opened
    said = []
    lend_llm(tool, lambda messages: said.append(messages) or "2")
    pooled(tool, page, url)
    page.get_by_role("button", name="Grade all pools").click()
    sure = page.get_by_text(re.compile(r"\d+ calls to scripted:numbered. Continue\?"))
    sure.wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Cancel").click()
    expect(sure).to_have_count(0)
    assert said == []
    page.get_by_role("button", name="Grade all pools").click()
    page.get_by_role("button", name="Start grading").click()
    page.get_by_text("grading pools:").filter(has_text="done").wait_for()
    assert len(said) >= 10
    page.get_by_role("button", name="Grade all pools").click()
    page.get_by_text("The LLM has graded all pools").wait_for()
