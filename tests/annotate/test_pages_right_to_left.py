"""Texts that are read from right to left, in a real browser: shown so everywhere, and marking reorders no word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from stm_agent.annotate.services import judging, queries, runs
from stm_agent.annotate.tables import Doubt
from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import own_project
from stm_agent.testing.browser import CHROMIUM, saved, showing

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
ARABIC = "الحمى ارتفاع في درجة حرارة الجسم بسبب عدوى"
QUESTION = "ما هي الحمى؟"
LEFTS = """
(root) => {
  const nodes = [];
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) nodes.push(node);
  const words = [];
  for (const node of nodes) {
    for (const match of node.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      words.push([range.getBoundingClientRect().left, match[0]]);
    }
  }
  return words.sort((a, b) => a[0] - b[0]).map(([, word]) => word);
}
"""


@pytest.fixture
def tool(tmp_path) -> Iterator[Tool]:
    opened = open_tool(tmp_path)
    rows = [("d1", {"title": "الحمى", "text": ARABIC}), ("d2", {"title": "Fever", "text": "A raised temperature."})]
    with own_project(opened, rows) as (session, me, project):
        query = queries.create(session, me, project, text=QUESTION, answer=ARABIC, key="q1")
        judging.grade(session, me, project, query, "d1", 1, note="ملاحظة")
        session.add(Doubt(project_id=project.id, query=QUESTION, positive=ARABIC, negative=ARABIC, origin="bm25"))
    runs.put_run(opened.database, me, "signs", "mine", {"q1": {"d1": 2.0, "d2": 1.0}})
    yield opened
    opened.close()


def direction(shown: Locator) -> str:
    return shown.first.evaluate("(one) => getComputedStyle(one).direction")


def test_marking_reorders_no_word(tool, browser):
    with showing(tool, browser, "signs", "work", "d1") as page:
        body = page.get_by_role("textbox", name="text of d1")
        body.wait_for()
        before = body.evaluate(LEFTS)
        assert before == ARABIC.split()[::-1], "the first word stands at the right"
        body.focus()
        # The arrow to the left goes on in the text, as it is read.
        for _ in range(2):
            page.keyboard.press("ArrowLeft")
        page.keyboard.press("Shift+ArrowLeft")
        assert page.evaluate("getSelection().toString().trim()") == " ".join(ARABIC.split()[1:3])
        page.keyboard.press("1")
        expect(page.locator(".evidence")).to_have_count(1)
        assert body.evaluate(LEFTS) == before


def test_questions_answers_and_passages_are_shown_in_their_direction(tool, browser):
    with showing(tool, browser, "signs", "work", "d1") as page:
        page.get_by_role("textbox", name="text of d1").wait_for()
        page.keyboard.press("n")
        page.locator("#block-question").fill(QUESTION)
        page.locator("#block-answer").fill(ARABIC)
        saved(page)
        shown = ["#block-question", "#block-answer", ".text[data-field=text]", ".list .item .clamp"]
        page.get_by_role("link", name="Judge").click()
        page.locator(".passage").first.wait_for()
        assert [direction(page.locator(part)) for part in (".paper h2", ".list .item span")] == ["rtl", "rtl"]
        assert direction(page.locator(".passage .text", has_text="الحمى")) == "rtl"
        assert direction(page.locator(".passage .text", has_text="raised")) == "ltr"
        page.keyboard.press("q")
        page.get_by_role("dialog").get_by_label("Query").wait_for()
        assert direction(page.get_by_role("dialog").locator("textarea")) == "rtl"
        page.go_back()
        page.locator("#block-question").wait_for()
        assert [direction(page.locator(part)) for part in shown] == ["rtl"] * len(shown)
        page.goto(page.url.split("#")[0] + "#/signs/review")
        page.locator(".card").wait_for()
        assert [direction(page.locator(part)) for part in (".card h2", ".card .text")] == ["rtl", "rtl"]
        page.goto(page.url.split("#")[0] + "#/signs/documents")
        page.get_by_role("button", name="d1", exact=True).click()
        page.get_by_role("dialog").locator(".text").first.wait_for()
        assert direction(page.get_by_role("dialog").locator(".text")) == "rtl"
