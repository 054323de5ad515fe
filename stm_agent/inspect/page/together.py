"""The page of a comparison: two or more runs, and their test queries side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from stm_agent.domain.collection import Document
from stm_agent.errors import RunError
from stm_agent.inspect.compare import Compared
from stm_agent.inspect.page.build import LARGEST, largest_page, made
from stm_agent.inspect.page.html import page_html
from stm_agent.inspect.page.queries import MODEL, Limits, Queries, columns, corpus_documents
from stm_agent.inspect.page.record import RunRecord


def comparison_page(records: Sequence[RunRecord], content: Compared) -> bytes:
    """Return the page of a comparison.

    Raises:
        RunError: The page is too large without any passage.
    """
    names = [record.folder.name for record in records]
    title = " and ".join(names)
    page = {
        **made(),
        "kind": "comparison",
        "title": title,
        "comparison": content,
        "first": names[0],
        "second": names[1],
    }
    corpus = cache(lambda: corpus_documents(records[0]))
    tested = bool(content["tests"])

    def make(limits: Limits) -> bytes:
        return page_html({**page, "queries": _queries(records, limits, corpus) if tested else None}, title)

    html = largest_page(make)
    if html is None:
        raise RunError(f"the page of {title} would have more than {LARGEST:,} bytes; compare fewer runs")
    return html


def _queries(records: Sequence[RunRecord], limits: Limits, corpus: Callable[[], Mapping[str, Document]]) -> Queries:
    """Return the queries with one row for each run's final model."""
    rows = {
        record.folder.name: (record.per_query[MODEL], record.answers) for record in records if MODEL in record.per_query
    }
    return columns(rows, replace(limits, rows=None), corpus, dict.fromkeys(rows, MODEL))
