"""The head of a run's page: the verdict, the rows of the report, the gate and the cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypedDict, cast

from stm_agent.inspect.page.record import RunRecord, Values
from stm_agent.inspect.race import RaceRow, race_note, race_rows
from stm_agent.inspect.report import untouched_row, verdict
from stm_agent.llm.budget import read_spending
from stm_agent.loop.state import START

if TYPE_CHECKING:
    from stm_agent.loop.report_rows import Report

COMPARED = ("BM25", "all-MiniLM-L6-v2", "all-in-one")
"""Rows that the model is compared with in words, beside the start."""


class RowView(TypedDict):
    """One row of the report; the last five are the model minus this row, None for the model itself."""

    name: str
    ndcg: float
    low: float
    high: float
    recall: float
    mrr: float
    delta: float | None
    delta_low: float | None
    delta_high: float | None
    p_value: float | None


class Fact(TypedDict):
    """A named value in words."""

    name: str
    value: str


class Overview(TypedDict):
    """What the head of the page shows.

    Attributes:
        tone: ``better``, ``same`` or ``worse`` than the start; ``open``: test is closed.
        race: The race of the starts; empty: there was none.
        race_note: What its scores can be compared with.
    """

    run: str
    state: str
    domain: str
    verdict: str
    tone: str
    sentences: list[str]
    notices: list[str]
    rows: list[RowView]
    race: list[RaceRow]
    race_note: str
    facts: list[Fact]
    lost: list[str]
    warnings: list[str]
    remarks: list[str]
    plan: list[str]


def overview(record: RunRecord) -> Overview:
    """Return the head of the page."""
    report = record.report
    sentence, tone = _verdict(record)
    return {
        "run": record.folder.name,
        "state": record.state,
        "domain": str(record.plan.get("task") or report.get("domain", "")),
        "verdict": sentence,
        "tone": tone,
        "sentences": _sentences(report),
        "notices": list(record.notices),
        "rows": [_row(name, row) for name, row in report.get("rows", {}).items()],
        "race": race_rows(report),
        "race_note": race_note(report),
        "facts": [{"name": name, "value": value} for name, value in _facts(record)],
        "lost": [f"{entry['lever']}: {entry['reason']}" for entry in _failures(record)],
        "warnings": _texts(record, "warning", "warnings"),
        "remarks": _texts(record, "note", "notes"),
        "plan": list(report.get("plan", [])),
    }


def _verdict(record: RunRecord) -> tuple[str, str]:
    """Return the result in one sentence, and its tone."""
    report = record.report
    rows = report.get("rows", {})
    if "merged" in rows:
        return _test_verdict(report)
    if report:
        dev = report["dev"]
        return (
            f"Stopped before test: the best model so far, {report['model_label']}, scores {dev['merged']:.3f} nDCG@10 "
            f"on dev and the start {dev['base']:.3f}; the gain is not confirmed.",
            "open",
        )
    models = record.summary.get("models", {})
    if "incumbent" in models:
        best, base = models["incumbent"], models["base"]
        return (
            f"Not finished: the best model so far, {best['label']}, scores {best['search']:.3f} nDCG@10 on the search "
            f"half of dev and the start {base['search']:.3f}; nothing is confirmed.",
            "open",
        )
    if found := record.instruction:
        text = found["instruction"] or "no instruction"
        return f"Of {found['tried']} instructions the search chose '{text}': {found['reason']}.", "open"
    if record.traces:
        return f"Not finished: {len(record.traces)} instructions and programs were tried so far.", "open"
    return "Not finished: nothing was scored yet.", "open"


def _test_verdict(report: Values) -> tuple[str, str]:
    model, base = report["rows"]["merged"], report["rows"].get(untouched_row(cast("Report", report)))
    queries = f"{report['collection'].get('test_queries', 0):,} test queries"
    if "test" in report["collection"].get("synthetic", ()):
        queries = f"{queries} that an LLM wrote"
    score = f"The model scores {model['ndcg_at_10']:.3f} nDCG@10 on {queries}"
    if base is None:
        return f"{score}.", "open"
    versus = base["merged_minus_this"]
    if report.get("model_label") == START:
        return f"No change was confirmed, so the model is the start itself: {score[0].lower()}{score[1:]}.", "same"
    interval = f"95 % interval {versus['low']:+.3f} to {versus['high']:+.3f}"
    # Without a row of the start at its own length, nothing is said about that.
    start = "the start as the run read it" if report.get("untouched", "base") is None else "the start"
    if versus["low"] > 0:
        return f"{score}, {versus['delta']:.3f} above {start} ({interval}).", "better"
    if versus["high"] < 0:
        return f"{score}, {-versus['delta']:.3f} BELOW {start} ({interval}).", "worse"
    return f"{score}; it and {start} cannot be distinguished ({versus['delta']:+.3f}, {interval}).", "same"


def _sentences(report: Values) -> list[str]:
    if "merged" not in report.get("rows", {}):
        return []
    return [line for line in (verdict(cast("Report", report), other) for other in COMPARED) if line]


def _row(name: str, row: Values) -> RowView:
    versus: Values = {} if name == "merged" else row["merged_minus_this"]
    return {
        "name": name,
        "ndcg": row["ndcg_at_10"],
        "low": row["low"],
        "high": row["high"],
        "recall": row["recall_at_100"],
        "mrr": row["mrr_at_10"],
        "delta": versus.get("delta"),
        "delta_low": versus.get("low"),
        "delta_high": versus.get("high"),
        "p_value": versus.get("p_value"),
    }


def _facts(record: RunRecord) -> Iterator[tuple[str, str]]:
    report = record.report
    if gate := report.get("gate"):
        yield "Looks at the accept half", f"{gate['looks']}, for {gate['alpha_spent']:.3f} of alpha {gate['alpha']:.3f}"
        yield "Changes considered", f"{gate['considered']:,}"
        yield "Dev queries", f"{gate['search_queries']:,} to search, {gate['accept_queries']:,} to accept"
        yield "Smallest gain it can show", f"about {gate['smallest_gain']:.3f} nDCG@10"
    if "dev_to_test_gap" in report:
        yield "Dev minus test", f"{report['dev_to_test_gap']:+.3f} nDCG@10"
        yield "Test opened", "once" if report["test_openings"] == 1 else f"{report['test_openings']} times"
    if general := report.get("general"):
        yield "General tasks", f"{general['base']:.3f} before, {general['merged']:.3f} after"
    for name, guard in report.get("guards", {}).items():
        interval = f"[{guard['low']:+.3f}, {guard['high']:+.3f}]"
        yield f"General task {name}", f"{guard['base']:.3f} to {guard['merged']:.3f}, {guard['delta']:+.3f} {interval}"
    yield from _cost(record)
    if collection := report.get("collection"):
        yield "Corpus", f"{collection['documents']:,} documents"


def _cost(record: RunRecord) -> Iterator[tuple[str, str]]:
    cost: Values = record.report.get("cost", {})
    if not cost:
        spent = read_spending(record.folder / "llm.jsonl")
        yield "Cost so far", f"{spent.usd:.4f} USD, {spent.calls:,} LLM calls"
        return
    minutes = cost.get("minutes") or sum(cost["seconds"].values()) / 60
    yield "Cost", f"{minutes:.1f} minutes, {cost['usd']:.4f} USD, {cost['llm_calls']:,} LLM calls"
    longest = sorted(cost["seconds"].items(), key=lambda item: -item[1])[:4]
    yield "Longest stages", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in longest)
    yield "Memory at the peak", f"{cost['peak_memory_gib']:.1f} GiB"


def _failures(record: RunRecord) -> list[Values]:
    return list(record.report.get("failures") or record.events("failure"))


def _texts(record: RunRecord, event: str, field: str) -> list[str]:
    """Return the lines of the report, or of the ledger of a run that has none."""
    if field in record.report:
        return list(record.report[field])
    return [f"{entry['name']}: {entry['text']}" for entry in record.events(event)]
