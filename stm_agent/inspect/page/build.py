"""Put a run's page together, small enough to be sent by mail."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import stm_agent
from stm_agent.errors import RunError
from stm_agent.files import write_atomic
from stm_agent.inspect.page.charts import front_chart, rows_chart, staircase, surrogate_chart
from stm_agent.inspect.page.fronts import NO_MERGE, fronts
from stm_agent.inspect.page.html import page_html
from stm_agent.inspect.page.overview import overview
from stm_agent.inspect.page.queries import MODEL, Limits, corpus_documents, queries
from stm_agent.inspect.page.record import RunRecord, read_record
from stm_agent.inspect.page.timeline import NO_SEARCH, timeline
from stm_agent.inspect.page.trials import NO_TRIALS, trials
from stm_agent.inspect.page.usage import NO_USE, usage
from stm_agent.inspect.page.written import NO_DATA, written
from stm_agent.inspect.why import ReasonRow, why

Part = TypeVar("Part")
PAGE = "report.html"
SCHEMA = 1
LARGEST = 5_000_000
"""Bytes of a page, at most."""
LIMITS = (
    Limits(),
    Limits(passage=200, query=200),
    Limits(passage=120, query=160),
    Limits(passage=80, query=120, first=3),
    Limits(passage=60, query=100, first=3, rows=(MODEL, "base", "BM25")),
    Limits(passage=0, query=80, first=3, rows=(MODEL, "base", "BM25")),
    Limits(passage=0, query=60, first=0),
)
"""What is shown of each text; the first that makes the page small enough."""


def write_page(folder: Path) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    Raises:
        RunError: A newer version made the run, or the page is too large.
        StorageError: The page cannot be written.
    """
    path = folder / PAGE
    write_atomic(path, run_page(read_record(folder)))
    return path


def run_page(record: RunRecord) -> bytes:
    """Return the page of a run.

    Raises:
        RunError: The page is larger than :data:`LARGEST` without any passage.
    """
    title = f"{record.folder.name}: report"
    content, corpus = _content(record, title), cache(lambda: corpus_documents(record))
    page = largest_page(lambda limits: page_html({**content, "queries": queries(record, limits, corpus)}, title))
    if page is None:
        raise RunError(
            f"the page of run {record.folder.name} would have more than {LARGEST:,} bytes: it has too many queries and "
            "trials; use 'stm-agent runs show' and 'stm-agent traces'"
        )
    return page


def largest_page(make: Callable[[Limits], bytes]) -> bytes | None:
    """Return the page that shows most and is small enough, by bisection; None: even the least is too large."""
    page = make(LIMITS[0])
    if len(page) <= LARGEST:
        return page
    found, low, high = None, 1, len(LIMITS) - 1
    while low <= high:
        middle = (low + high) // 2
        page = make(LIMITS[middle])
        if len(page) <= LARGEST:
            found, high = page, middle - 1
        else:
            low = middle + 1
    return found


def made() -> dict[str, object]:
    """Return what every page says of itself."""
    now = datetime.datetime.now(datetime.UTC).isoformat(sep=" ", timespec="minutes")
    return {"schema": SCHEMA, "version": stm_agent.__version__, "made": now.removesuffix("+00:00") + " UTC"}


def _content(record: RunRecord, title: str) -> dict[str, object]:
    """Return everything but the queries, which are as long as there is room."""
    failed: list[str] = []

    def part(name: str, make: Callable[[RunRecord], Part], empty: Part) -> Part:
        try:
            return make(record)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # Entries of another version have other fields; the rest of the page can be shown.
            failed.append(f"The part {name} cannot be shown, since another version wrote it: {error!r}.")
            return empty

    head, search, merge = overview(record), part("Search", timeline, NO_SEARCH), part("Merge", fronts, NO_MERGE)
    details, use = part("trials", trials, NO_TRIALS), part("Use and reproduce", usage, NO_USE)
    data = part("Training data", written, NO_DATA)
    charts = {
        "rows": rows_chart(head["rows"]),
        "minutes": staircase(search, "minutes", "minutes of the run"),
        "usd": staircase(search, "usd", "US dollars paid to LLMs"),
        "front": front_chart(merge),
        "surrogate": surrogate_chart(merge),
    }
    return {
        **made(),
        "kind": "run",
        "title": title,
        "overview": {**head, "notices": [*head["notices"], *failed]},
        "timeline": search,
        "trials": details,
        "lineage": _lineage(record),
        "written": data,
        "merge": merge,
        "usage": use,
        "charts": charts,
        "first": MODEL,
        "second": _compared_row(record),
    }


def _compared_row(record: RunRecord) -> str:
    """Return the row that the queries are opened against: the start, unless the model scores as it does."""
    scores = record.per_query
    rows = [row for row in ("base", "BM25") if row in scores and scores[row] != scores.get(MODEL)]
    return next(iter((*rows, *scores)), MODEL)


def _lineage(record: RunRecord) -> ReasonRow | str:
    """Return where the model came from, or why nobody can say."""
    if not record.report:
        return "The lineage is written when the run has a model."
    try:
        return why(record.folder).to_json()
    except (RunError, KeyError, TypeError) as error:
        # A ledger of an older version has other entries; the rest of its page can be shown.
        return f"The lineage cannot be read: {error}"
