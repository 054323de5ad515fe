"""The report of a run as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stm_agent.inspect.front import source_of
from stm_agent.inspect.race import race_table
from stm_agent.loop.state import START

if TYPE_CHECKING:
    from rich.console import Group

    from stm_agent.loop.report_rows import Cost, Report
    from stm_agent.loop.seeds import SeedsReport

SHOWN_POINTS = 8
"""Points of the Pareto front that are printed; all are in report.json."""


def report_table(report: Report) -> Group:
    """Return scores, race of the starts, comparisons, gate and cost of a finished run; dev scores of a stopped one."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    race = [table for table in [race_table(report)] if table is not None]
    if report.get("state") == "stopped":
        return Group(Text("\n".join(_stopped_lines(report))), *race)
    collection = report["collection"]
    title = (
        f"{report['run']}: {_mark(report, 'test')}test nDCG@10, {collection['test_queries']:,} queries, "
        f"{collection['documents']:,} documents"
    )
    # A row fits on one line of an 80-column terminal.
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("model", "nDCG@10 [95 %]", "R@100", "MRR@10", "merged minus this [95 %]"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for name, row in report["rows"].items():
        versus = row["merged_minus_this"]
        table.add_row(
            name,
            f"{row['ndcg_at_10']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
            f"{row['recall_at_100']:.3f}",
            f"{row['mrr_at_10']:.3f}",
            "" if name == "merged" else f"{versus['delta']:+.3f} [{versus['low']:+.3f}, {versus['high']:+.3f}]",
            style="bold" if name == "merged" else "",
        )
    return Group(table, *race, Text("\n".join(_lines(report))))


def seeds_table(summary: SeedsReport) -> Group:
    """Return mean and spread of several seeds, and which model is the best on dev."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = f"test nDCG@10 over seeds {', '.join(str(seed) for seed in summary['runs'])}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("model", "mean", "spread", "lowest", "highest"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for name, row in summary["rows"].items():
        numbers = [f"{value:.4f}" for value in (row["mean"], row["spread"], row["lowest"], row["highest"])]
        table.add_row(name, *numbers, style="bold" if name == "merged" else "")
    best = f"best on dev: seed {summary['best_seed']}, run {summary['best_run']}, model in {summary['model']}"
    return Group(table, Text(best))


def _mark(report: Report, split: str) -> str:
    """Return ``synthetic`` and a space if an LLM wrote the queries of a split."""
    return "synthetic " if split in report["collection"].get("synthetic", ()) else ""


def start_kept(report: Report) -> str:
    """Return that the model is the start itself, in words; empty if it is not."""
    kept = report.get("model_label") == START
    return "No change was confirmed, so the start was kept: the model is the start itself." if kept else ""


def verdict(report: Report, other: str) -> str:
    """Return in words how the merged model compares with another row; empty if the row does not exist."""
    row = report["rows"].get(other)
    if row is None:
        return ""
    versus, queries = row["merged_minus_this"], " on synthetic queries" if _mark(report, "test") else ""
    if versus["low"] == versus["high"] == 0:
        return f"The model and {other} have the same score on every query."
    if versus["low"] > 0:
        return f"The merged model is above {other} by {versus['delta']:.3f}{queries}; the paired interval excludes 0."
    if versus["high"] < 0:
        return f"The merged model is BELOW {other} by {-versus['delta']:.3f}{queries}; the paired interval excludes 0."
    return (
        f"The merged model and {other} cannot be distinguished{queries} ({versus['delta']:+.3f}; the interval "
        "contains 0)."
    )


def _front(report: Report) -> list[str]:
    """Return the trade-off between domain and general tasks, one point a line; older reports have none."""
    points, taken = report.get("front", []), report.get("front_taken")
    lines = [
        f"  {number}. domain {point['dev']:.4f}, general {point['general']:.4f} ({source_of(point)})"
        f"{', exported' if number == taken else ''}"
        for number, point in enumerate(points[:SHOWN_POINTS], 1)
    ]
    if points and taken is None and "front_taken" in report:
        lines.append("  the exported model is not one of them; points that a surrogate scored are estimates")
    rest = [f"  and {len(points) - SHOWN_POINTS} more"] if len(points) > SHOWN_POINTS else []
    head = f"Pareto front on the search half of {_mark(report, 'dev')}dev, {len(points)} points:"
    return [head, *lines, *rest] if points else []


def _guards(report: Report) -> list[str]:
    """Return each general task on its test queries, the model against the start; older reports have none."""
    return [
        f"  general task {name}: {row['base']:.3f} before, {row['merged']:.3f} after, "
        f"{row['delta']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        for name, row in report.get("guards", {}).items()
    ]


def _gate_lines(report: Report) -> list[str]:
    """Return what the gate spent, lost levers, warnings, remarks and the dev-to-test gap; older reports lack them."""
    if "gate" not in report:
        return []
    gate = report["gate"]
    lines = [
        f"Gate ({gate['mode']}): {gate['search_queries']} {_mark(report, 'dev')}dev queries to search, "
        f"{gate['accept_queries']} to accept; looks: {gate['looks']}, alpha {gate['alpha_spent']:.3f} of "
        f"{gate['alpha']:.3f} spent, {gate['considered']} changes considered; smallest gain it can show about "
        f"{gate['smallest_gain']:.3f}."
    ]
    if "dev_to_test_gap" in report:
        lines.append(
            f"Dev minus test nDCG@10 of the model{', both synthetic' if _mark(report, 'test') else ''}: "
            f"{report['dev_to_test_gap']:+.4f}. "
            f"Test was opened {report['test_openings']} time(s) in this run."
        )
    lines += [f"LOST: {failure['lever']}: {failure['reason']}" for failure in report["failures"]]
    lines += [f"Warning: {warning}" for warning in report["warnings"]]
    # Older reports have their remarks among the warnings.
    return [*lines, *(f"Note: {note}" for note in report.get("notes", []))]


def _test(report: Report) -> str:
    openings = report.get("test_openings", 0)
    return f"test was opened {openings} time(s)" if openings else "test is still closed"


def _stopped_lines(report: Report) -> list[str]:
    dev = report["dev"]
    return [
        f"{report['run']}: {report['reason']}; {_test(report)}, the same command resumes.",
        f"Best model so far, not confirmed: {report['model_label']}; "
        f"{_mark(report, 'dev')}dev nDCG@10 {dev['merged']:.4f}, the backbone {dev['base']:.4f}.",
        *_gate_lines(report),
        f"Model: {report['model']} (a plain sentence-transformers folder).",
    ]


def difference_lines(changed: tuple[str, list[str]] | None) -> list[str]:
    """Return in words how the inputs of a run differ from those of an earlier run."""
    if changed is None:
        return []
    run, lines = changed
    if not lines:
        return [f"Same inputs as {run}."]
    return [f"What differs from {run} (its value -> this one's):", *(f"  {line}" for line in lines)]


def _minutes(cost: Cost) -> float:
    # Reports of the first schema have only the seconds of stages.
    return float(cost.get("minutes") or sum(cost["seconds"].values()) / 60)


def _writing(cost: Cost) -> list[str]:
    """Return what the generator wrote and what that cost, a kind a line; older reports lack it."""
    return [
        f"Written {what}: {row['written']:,} of {row['asked']:,}, {row['copied']:,} copied from their passage; "
        f"{row['calls']:,} calls, {row['tokens']:,} tokens, {row['usd']:.4f} USD, {row['seconds']:.0f} s."
        for what, row in cost.get("writing", {}).items()
    ]


def untouched_row(report: Report) -> str:
    """Return the row of the start as it comes; ``base``, the start as the run read it, if there is none."""
    return report.get("untouched") or "base"


def _compared(report: Report) -> list[str]:
    """Return the rows that the model is compared with in words; the start once, if two rows are the same model."""
    rows, encoder, start = report["rows"], "all-MiniLM-L6-v2", untouched_row(report)
    starts = [] if rows.get(start) == rows.get(encoder) else [start]
    return ["BM25", encoder, *starts, f"expert {report['best_expert_on_dev']}", "all-in-one"]


def _lines(report: Report) -> list[str]:
    cost, general, seconds = report["cost"], report["general"], report["cost"]["seconds"]
    speed = cost["texts_per_second"]
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in report["weights"].items() if weight)
    stages = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return [
        *(line for line in (start_kept(report), *(verdict(report, other) for other in _compared(report))) if line),
        f"Merge weights: {weights or 'none, it is the backbone'}. Instruction: {report['instruction'] or 'none'}.",
        f"General guard nDCG@10: {general['base']:.4f} before, {general['merged']:.4f} after"
        + (f"; other trade-offs: stm-agent merge pick {report['run']}." if report.get("front") else "."),
        *_guards(report),
        *_front(report),
        *_gate_lines(report),
        f"Cost: {cost['usd']:.4f} USD, {cost['llm_calls']} LLM calls, {_minutes(cost):.1f} minutes "
        f"({stages}), {cost['peak_memory_gib']:.1f} GiB at the peak.",
        *_writing(cost),
        *([f"Loop overhead: {cost['overhead_share']:.1%} of the wall time."] if "overhead_share" in cost else []),
        f"Speed: encoding {speed['encoding']:.0f} texts/s, training {speed['training']:.0f} texts/s.",
        f"Data: {report['collection']['source']}. Licence: {report['collection']['licence']}.",
        f"Model: {report['model']} (a plain sentence-transformers folder).",
        f'Try it: stm-agent search {report["run"]} "your words"',
    ]
