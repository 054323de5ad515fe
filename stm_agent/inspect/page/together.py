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
from stm_agent.inspect.paired import largest_group


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
    }
    tested = largest_group(content["tests"], records)
    if tested:
        page |= {"first": tested[0].folder.name, "second": tested[1].folder.name}
    corpus = cache(lambda: corpus_documents(tested[0]))

    def make(limits: Limits) -> bytes:
        return page_html({**page, "queries": _queries(tested, limits, corpus) if tested else None}, title)

    html = largest_page(make)
    if html is None:
        raise RunError(f"the page of {title} would have more than {LARGEST:,} bytes; compare fewer runs")
    return html


def _queries(records: Sequence[RunRecord], limits: Limits, corpus: Callable[[], Mapping[str, Document]]) -> Queries:
    """Return the queries with one row for each run's final model; all have the same queries."""
    rows = {record.folder.name: (record.per_query[MODEL], record.answers) for record in records}
    return columns(rows, replace(limits, rows=None), corpus, dict.fromkeys(rows, MODEL))
