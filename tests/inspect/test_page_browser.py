"""The page in a real browser: it loads nothing, shows text as text, and answers mouse and keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stm_agent.inspect.compare import compare, read_runs
from stm_agent.inspect.page.build import write_page
from stm_agent.inspect.page.together import comparison_page
from stm_agent.testing.browser import CHROMIUM, browsing, violations
from stm_agent.testing.run_folder import ARABIC, MARKUP, FakeRun

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    run = FakeRun(queries=2000, texts=(MARKUP, ARABIC, "x" * 10_000), audited=True)
    folder = run.write(tmp_path_factory.mktemp("a") / "fake")
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened.asked, opened.wrong = [], []  # type: ignore[attr-defined]
    opened.on("request", lambda request: opened.asked.append(request.url))  # type: ignore[attr-defined]
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))  # type: ignore[attr-defined]
    opened.on("console", lambda message: opened.wrong.append(message.text))  # type: ignore[attr-defined]
    opened.goto(write_page(folder).as_uri())
    opened.wait_for_selector("[data-ready]")
    yield opened
    opened.close()


def test_each_part_is_there(page):
    parts = page.eval_on_selector_all("section", "all => all.map(one => one.id)")
    assert parts == ["verdict", "search", "queries", "lineage", "data", "merge", "use"]
    assert "0.100 above the start" in page.locator(".verdict").inner_text()
    assert "expert third: out of memory" in page.locator("#verdict").inner_text()
    assert page.locator("#verdict table").nth(1).locator("tr.own").inner_text().split("\t") == [
        *("embedded:all-minilm-l6-v2", "0.440", "9.5", "chosen")
    ]
    assert "hard 1.00" in page.locator("#merge").inner_text()
    assert "stm-agent optimize --domain fake" in page.locator("#use").inner_text()
    assert page.locator("#data table tbody tr").all_inner_texts()[0].split("\t") == [
        "bm25",
        "25.0% [20.0%, 31.0%] of 1,200",
        "3.1% [2.0%, 5.0%] of 980",
    ]


def test_markup_is_shown_as_text(page):
    page.get_by_label("Words of a query").fill("onerror")
    assert (
        page.locator("#queries .line").first.inner_text().endswith(MARKUP.strip())
        or MARKUP in page.locator("#queries .line").first.text_content()
    )
    page.locator("#queries .line").first.click()
    assert MARKUP in page.locator("#queries .detail").text_content()
    assert page.title() == "fake: report"
    assert page.locator("#root img, #root b").count() == 0
    page.get_by_label("Words of a query").fill("")


def test_a_point_of_the_chart_opens_its_trial(page):
    page.locator("#search").scroll_into_view_if_needed()
    page.wait_for_selector("#search .chart[data-drawn]")
    page.locator("#search .mark-symbol path").first.click(force=True)
    page.wait_for_selector("#search .detail:not([hidden])")
    assert page.locator("#search .detail h3").first.inner_text()


def test_a_trial_shows_words_chat_examples_and_cost(page):
    page.locator("#search .line").nth(1).click()
    detail = page.locator("#search .detail")
    assert ARABIC in detail.locator("ins").all_inner_texts() or detail.locator("ins, del").count()
    assert detail.locator(".message").count() >= 4, "system, user, answer and an example"
    assert "90 tokens, 0.0020 USD" in detail.inner_text()


def test_a_trial_shows_its_passage_instruction_against_its_parents(page):
    page.evaluate("location.hash = '#trial=i0004'")
    page.wait_for_selector("#search .detail[data-id='instruction:i0004']")
    detail = page.locator("#search .detail")
    assert "Passage instruction against that of i0003" in detail.inner_text()
    assert "of a textbook" in " ".join(detail.locator("ins").all_inner_texts())


def test_queries_are_filtered_and_both_sides_are_shown(page):
    page.get_by_role("combobox", name="against").select_option("BM25")
    assert "merged against BM25" in page.locator("#queries [role=status]").inner_text()
    page.get_by_role("combobox", name="type").select_option("question")
    page.get_by_label("only what differs").uncheck()
    page.locator("#queries .line").first.click()
    sides = page.locator("#queries .pair ol.found")
    assert [sides.nth(at).locator("li").count() for at in (0, 1)] == [5, 5]
    page.locator("#queries details").last.evaluate("one => { one.open = true; }")
    assert page.locator("#queries li.relevant").count() >= 1
    page.get_by_role("combobox", name="type").select_option("")


def test_rows_exist_only_while_they_are_seen(page):
    body = page.locator("#queries .body")
    assert page.locator("#queries .line").count() < 60
    body.evaluate("one => { one.scrollTop = one.scrollHeight; }")
    page.wait_for_function(
        "document.querySelector('#queries .line:last-child').getAttribute('aria-rowindex') === '2000'"
    )
    assert page.locator("#queries .line").count() < 60


def test_keyboard_alone_walks_the_queries(page):
    page.locator("#queries .body").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    assert page.locator("#queries .line[aria-selected=true]").get_attribute("aria-rowindex") == "2"
    chosen = page.locator("#queries .body").get_attribute("aria-activedescendant")
    assert page.locator(f"#{chosen}").get_attribute("aria-selected") == "true"


def test_an_address_opens_a_trial(page):
    page.evaluate("location.hash = '#trial=i0003'")
    page.wait_for_selector("#search .detail[data-id='instruction:i0003']")


def test_no_serious_barrier_in_either_theme(page):
    assert violations(page) == []


def test_nothing_was_asked_of_the_network_and_nothing_went_wrong(page):
    """The last test of this page: all others have used it."""
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert page.wrong == []


def test_open_samples_are_printed_whole(page):
    page.emulate_media(media="print")
    style = """() => {
      const samples = document.createElement('details');
      samples.innerHTML = '<summary>Samples</summary><div class="long">many</div>';
      samples.open = true;
      document.querySelector('#data').append(samples);
      const height = getComputedStyle(samples.querySelector('.long')).maxHeight;
      samples.remove();
      return height;
    }"""
    assert page.evaluate(style) == "none"
    page.emulate_media(media="screen")


def test_comparison_shows_tests_and_queries(browser, tmp_path: Path):
    runs = [FakeRun(seed=seed).write(tmp_path / f"fake-{seed}") for seed in (0, 1)]
    records = read_runs(runs)
    file = tmp_path / "both.html"
    file.write_bytes(comparison_page(records, compare(records)))
    page = browser.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("[data-ready]")
    assert "fake-1 minus fake-0" in page.locator("#scores").inner_text()
    assert "flags.seed" in page.locator("#differences").inner_text()
    page.locator("#queries .line").first.click()
    assert page.locator("#queries .pair ol.found li").count() == 10
    page.close()
