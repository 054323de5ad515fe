"""The race of the starts as people read it, in the terminal and on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from stm_agent.loop.run_plan import RACE_DOCUMENTS

if TYPE_CHECKING:
    from rich.table import Table

    from stm_agent.inspect.page.record import Values

MARK = "BM25"
"""Row of the race that no start is: what a start is compared with."""


class RaceRow(TypedDict):
    """One row of the race.

    Attributes:
        name: The start, or BM25.
        ndcg: nDCG@10 on the search half over the raced part of the corpus, without adaptation.
        seconds: Seconds to encode 1,000 texts, its passages and the queries; None: they were encoded before, or it is
            BM25.
        role: ``chosen``, ``mark`` for BM25, or empty.
    """

    name: str
    ndcg: float
    seconds: float | None
    role: str


def race_rows(report: Values) -> list[RaceRow]:
    """Return the race of a report, in the order in which the starts ran; empty: there was none."""
    rows = report.get("race") or []
    starts = [row for row in rows if row["name"] != MARK]
    # As in the race itself, the first of equal starts is taken.
    chosen = max(starts, key=lambda row: row["ndcg_at_10"])["name"] if starts else None
    return [
        {
            "name": row["name"],
            "ndcg": row["ndcg_at_10"],
            "seconds": row["seconds_per_1000"],
            "role": "mark" if row["name"] == MARK else "chosen" if row["name"] == chosen else "",
        }
        for row in rows
    ]


def race_note(report: Values) -> str:
    """Return in one sentence what the scores of a race can be compared with; empty: there was none."""
    if not report.get("race"):
        return ""
    scored = "nDCG@10 of the untouched starts on the search half of dev"
    if report["collection"]["documents"] <= RACE_DOCUMENTS:
        return f"{scored}, over the whole corpus."
    return (
        f"{scored}, over the judged passages and those that are hard for BM25 (about {RACE_DOCUMENTS}): BM25 is lower "
        "there than on the whole corpus, so a start above it here can be below it there."
    )


def race_table(report: Values) -> Table | None:
    """Return the race as a table for a terminal, its note as the caption; None: there was no race."""
    from rich.table import Table

    rows = race_rows(report)
    if not rows:
        return None
    table = Table(
        title="race of the starts", caption=race_note(report), title_justify="left", caption_justify="left", box=None
    )
    table.pad_edge = False
    table.add_column("start", overflow="fold")
    for name in ("nDCG@10", "s per 1,000 texts", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        style = "bold" if row["role"] == "chosen" else ""
        table.add_row(row["name"], f"{row['ndcg']:.3f}", seconds, row["role"], style=style)
    return table
