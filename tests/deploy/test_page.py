"""The search page in a real browser: two models side by side, thumbs that are stored."""

from __future__ import annotations

import pytest

from stm_agent.deploy.app import build_app
from stm_agent.deploy.product import product_of_run
from stm_agent.deploy.service import ServeOptions, Service
from stm_agent.files import read_jsonl
from stm_agent.testing.browser import CHROMIUM, browsing, new_page, violations
from stm_agent.testing.serving import serving_app

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser():
    with browsing() as browser:
        yield browser


def test_two_models_stand_side_by_side_and_thumbs_are_stored(browser, space, asked, plain, tmp_path):
    from playwright.sync_api import expect

    service = Service([product_of_run(asked), product_of_run(plain)], tmp_path, ServeOptions())
    service.search.wait()
    with serving_app(build_app(service, key="s3cret")) as url:
        page = new_page(browser, f"{url}/")
        page.get_by_label("This server asks for a key").fill("s3cret")
        page.get_by_role("button", name="Use it").click()
        words = page.get_by_role("searchbox")
        words.fill("my knee is sore")
        words.press("Enter")
        left, right = (page.get_by_role("region", name=name) for name in ("First ranking", "Second ranking"))
        expect(left.get_by_role("listitem")).to_have_count(10)
        expect(right.get_by_role("listitem")).to_have_count(10)
        assert left.get_by_label("Ranked by").input_value() != right.get_by_label("Ranked by").input_value()

        left.get_by_label("Ranked by").select_option(label="BM25")
        first = left.get_by_role("listitem").first
        expect(first).to_contain_text("knee")
        first.get_by_role("button", name="👍 relevant").click()
        expect(page.get_by_role("status")).to_have_text("saved; 1 in the judgement file")
        (row,) = read_jsonl(tmp_path / "reviews" / "search-asked-1.jsonl")
        assert (row["query"], row["answer"], row["seen_in"]) == ("my knee is sore", "false_negative", "asked-1 bm25 1")
        assert violations(page) == []

        page.reload()
        pressed = page.get_by_role("button", name="👍 relevant", pressed=True)
        expect(words).to_have_value("my knee is sore")
        left.get_by_label("Ranked by").select_option(label="BM25")
        expect(pressed.first).to_be_visible()
        pressed.first.click()
        expect(page.get_by_role("status")).to_have_text("saved; 0 in the judgement file")
        page.context.close()
    service.close()
