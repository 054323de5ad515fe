"""What each part of a run's page must show, (a) to (h), asked of the page in the browser."""

from __future__ import annotations

import re
from typing import Any

PARTS = ("verdict", "search", "queries", "lineage", "data", "merge", "use")
"""Sections of the page."""


def contents(page: Any) -> dict[str, dict[str, bool]]:
    """Return part -> what it must show -> whether it does; a trial of a reflecting LLM and a query are open."""
    return {
        "a verdict": _verdict(page),
        "b search": _search(page),
        "c trial": _trial(page),
        "d queries": _queries(page),
        "e lineage": _lineage(page),
        "f data": _data(page),
        "g merge": _merge(page),
        "h use": _use(page),
    }


def lacking(found: dict[str, dict[str, bool]]) -> list[str]:
    """Return what parts do not show, such as ``f data: samples``."""
    return [f"{part}: {what}" for part, checks in found.items() for what, holds in checks.items() if not holds]


def _text(page: Any, place: str) -> str:
    return page.locator(place).first.inner_text() if page.locator(place).count() else ""


def _verdict(page: Any) -> dict[str, bool]:
    rows = page.locator("#verdict tbody tr").all_inner_texts()
    facts = _text(page, "#verdict dl.facts")
    return {
        "the result in one sentence": "nDCG@10 on" in _text(page, "#verdict p.verdict"),
        "rows with intervals": len(rows) > 3 and all("[" in row for row in rows),
        "looks": "Looks at the accept half" in facts,
        "dev minus test": "Dev minus test" in facts,
        "cost in minutes and dollars": " minutes, " in facts and " USD" in facts,
    }


def _search(page: Any) -> dict[str, bool]:
    dots = page.evaluate("""async () => {
      const packed = Uint8Array.from(atob(document.getElementById('content').textContent), (one) => one.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
      return JSON.parse(await new Response(stream).text()).timeline.dots;
    }""")
    refused = [dot for dot in dots if dot["outcome"] == "refused"]
    return {
        "the line": page.locator("#search .mark-line path").count() > 0,
        "every trial as a point": page.locator("#search .mark-symbol path").count() == len(dots) > 0,
        "dollars as the other axis, or that there were none": page.get_by_role("button", name="over dollars").count()
        == 1
        or "paid for no LLM call" in _text(page, "#search"),
        "refused trials with a reason": bool(refused) and all(dot["reason"] for dot in refused),
        "something that was taken": any(dot["outcome"] == "taken" for dot in dots),
    }


def _trial(page: Any) -> dict[str, bool]:
    detail = page.locator("#search .detail")
    return {
        "words against its parent": detail.locator("ins, del").count() > 0,
        "the chat as it was sent": detail.locator(".message h4").count() >= 2,
        "examples that the LLM was shown": "Examples that the LLM was shown" in detail.inner_text(),
        "scores": "nDCG@10" in detail.locator("dl.facts").inner_text(),
        "cost": "tokens," in detail.locator("dl.facts").inner_text(),
    }


def _queries(page: Any) -> dict[str, bool]:
    summary, differs = page.locator("#queries [role=status]"), page.get_by_label("only what differs")
    grid = page.locator("#queries [role=grid]")
    fewer = int(grid.get_attribute("aria-rowcount"))
    differs.uncheck()
    every = int(grid.get_attribute("aria-rowcount"))
    differs.check()
    page.locator("#queries .line").first.click()
    won, lost, equal = (int(number) for number in re.findall(r"(\d+) (?:won|lost|equal)", summary.inner_text()))
    return {
        "won and lost": won + lost > 0,
        "what differs alone": (fewer, every) == (won + lost, won + lost + equal),
        "five passages of both rows": page.locator("#queries .pair ol.found li").count() == 10,
        "relevant passages": page.locator("#queries li.relevant").count() > 0,
        "slices": page.locator("#queries table tbody tr").count() > 2,
    }


def _lineage(page: Any) -> dict[str, bool]:
    page.evaluate("document.querySelectorAll('#lineage details').forEach((one) => { one.open = true; })")
    text = _text(page, "#lineage")
    return {name: name in text for name in ("look", "merge", "expert", "source", "program")}


def _data(page: Any) -> dict[str, bool]:
    page.evaluate("document.querySelectorAll('#data details').forEach((one) => { one.open = true; })")
    text = _text(page, "#data")
    return {
        "a false-negative rate": page.locator("#data table tbody tr").count() > 0 and "%" in _text(page, "#data table"),
        "what was written": "Written" in text,
        "what was mined": "Mined hard negatives" in text,
        "samples": page.locator("#data .message").count() > 0,
    }


def _merge(page: Any) -> dict[str, bool]:
    return {
        "weights": "Exported weights: " in _text(page, "#merge"),
        "the front and the surrogate": page.locator("#merge .chart svg").count() == 2,
        "points of the front": page.locator("#merge table tbody tr").count() > 0,
    }


def _use(page: Any) -> dict[str, bool]:
    code = " ".join(page.locator("#use pre").all_inner_texts())
    return {
        "code that loads it": "SentenceTransformer(" in code,
        "the commands": "stm-agent optimize" in code,
        "licences": page.locator("#use ul li").count() > 1,
        "the card": page.locator("#use details pre").count() > 0,
    }
