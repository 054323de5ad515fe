"""The run's report as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stm_agent.inspect.front import source_of

if TYPE_CHECKING:
    from rich.console import Group

FRONT = 8
"""Points of the Pareto front that are shown; all are in report.json."""


def report_table(report: Mapping[str, Any]) -> Group:
    """Return the score table, the honest comparison and the cost of a finished run."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    collection = report["collection"]
    title = (
        f"{report['run']}: test nDCG@10, {collection['test_queries']:,} queries, {collection['documents']:,} documents"
    )
    # Every row on one line of an 80-column terminal.
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
    return Group(table, Text("\n".join(_lines(report))))


def verdict(report: Mapping[str, Any], other: str) -> str:
    """Say in words how the merged model stands against another row; empty where there is no such row."""
    row = report["rows"].get(other)
    if row is None:
        return ""
    versus = row["merged_minus_this"]
    if versus["low"] > 0:
        return f"The merged model is above {other} by {versus['delta']:.3f}; the paired interval excludes 0."
    if versus["high"] < 0:
        return f"The merged model is BELOW {other} by {-versus['delta']:.3f}; the paired interval excludes 0."
    return (
        f"The merged model and {other} cannot be told apart ({versus['delta']:+.3f}; the paired interval contains 0)."
    )


def _front(report: Mapping[str, Any]) -> list[str]:
    """Return the trade-off between domain and general tasks on dev, a point each; reports of older runs have none."""
    points = report.get("front", [])
    told = [
        f"  {number}. domain {point['dev']:.4f}, general {point['general']:.4f} ({source_of(point)})"
        for number, point in enumerate(points[:FRONT], 1)
    ]
    rest = [f"  and {len(points) - FRONT} more"] if len(points) > FRONT else []
    return [f"Pareto front on dev, {len(points)} points:", *told, *rest] if points else []


def _lines(report: Mapping[str, Any]) -> list[str]:
    cost, general, seconds = report["cost"], report["general"], report["cost"]["seconds"]
    speed = cost["texts_per_second"]
    others = ("BM25", "all-MiniLM-L6-v2", f"expert {report['best_expert_on_dev']}", "all-in-one")
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in report["weights"].items() if weight)
    stages = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return [
        *(line for line in (verdict(report, other) for other in others) if line),
        f"Merge weights: {weights or 'none, the backbone is kept'}. Instruction: {report['instruction'] or 'none'}.",
        f"General guard nDCG@10: {general['base']:.4f} before, {general['merged']:.4f} after; "
        f"other trade-offs: stm-agent merge pick {report['run']}.",
        *_front(report),
        f"Cost: {cost['usd']:.4f} USD, {cost['llm_calls']} LLM calls, {sum(seconds.values()) / 60:.1f} minutes "
        f"({stages}), {cost['peak_memory_gib']:.1f} GiB at the peak.",
        f"Speed: encoding {speed['encoding']:.0f} texts/s, training {speed['training']:.0f} texts/s.",
        f"Data: {report['collection']['source']}. Licence: {report['collection']['licence']}.",
        f"Model: {report['model']} (a plain sentence-transformers folder).",
        f'Try it: stm-agent search {report["run"]} "your words"',
    ]
