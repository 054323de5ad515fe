"""What the commands below ``stm-agent synthesize`` print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stm_agent.loop.comparison_report import ComparisonReport, GeneratorCost, Mean
    from stm_agent.loop.search_report import ProgramReport, WinnerReport


def counts_text(counts: Mapping[str, object]) -> str:
    """Return the counts of what was written, a block for each kind if there are several."""
    lines = []
    for name, value in counts.items():
        if isinstance(value, Mapping):
            lines += [name, *(f"  {row}" for row in counts_text(value).splitlines())]
        else:
            lines.append(f"{name:<24} {value}")
    return "\n".join(lines)


def search_text(report: ProgramReport) -> str:
    """Return the candidates with what each rung said, the cost, and what was written."""

    def number(value: float | None) -> str:
        return f"{value:.4f}" if value is not None else "-"

    lines = [f"{'trial':<8}{'rating':>8}{'texts':>8}{'probe':>9}{'lora':>9}"]
    lines += [
        f"{row['trial']:<8}{row['rating']:>8.3f}{row['pairs']:>8}{number(row['probe']):>9}{number(row['lora']):>9}"
        for row in report["candidates"]
    ]
    return "\n".join([*lines, *_upper_rungs(report), *ending_lines(report)])


def ending_lines(report: WinnerReport) -> list[str]:
    """Return what a search of a program's text cost, why it ended so, and what was written."""
    cost, written, ended = report["cost"], report.get("written"), report.get("ended")
    early = [*ended["reasons"], "a higher ceiling continues the search"] if ended else []
    return [
        f"cost: {cost['usd']:.4f} USD, {cost['calls']} calls, {cost['minutes']:.1f} minutes",
        *early,
        report["reason"],
        f"written: {written}" if written else "nothing is written: the program stays as it is",
    ]


def _upper_rungs(report: ProgramReport) -> list[str]:
    """Return what probes and LoRA runs said, or the examples that were held out for a judge."""
    if (held := report.get("held_out")) is not None:
        if held["means"] is None:
            return [f"{held['examples']} pairs were held out and not needed"]
        before, after = held["means"]
        return [f"rating on {held['examples']} pairs that were held out: {before:.3f} before, {after:.3f} after"]
    agreed = report["probe"]
    few = f"needs three candidates with both, there are {agreed['candidates']}"
    shown = few if agreed["spearman"] is None else f"{agreed['spearman']:.2f} over {agreed['candidates']} candidates"
    return [
        f"nDCG@10 on the search half over {report['passages']:,} passages; untrained {report['untrained']:.4f}",
        f"rank correlation of probe ({agreed['kind']}) and LoRA run: {shown}",
    ]


def comparison_text(report: ComparisonReport) -> str:
    """Return a block of lines for each generator."""
    lines = [f"{report['passages']} passages; probe {report['probe']}; untrained nDCG@10 {report['untrained']:.4f}"]
    for row in report["rows"]:
        cost = row["cost"]
        refused = ", ".join(f"{number} {reason}" for reason, number in sorted(row["refused"].items()))
        relevant = row["false_negatives"]
        share = relevant.get("reason") or (
            f"{_interval(relevant['share'], relevant['low'], relevant['high'], '.1%')} by {relevant['by']}"
        )
        grade = [f"  judge's grade  {_mean(row['grade'], '.2f')} of 3"] if row["grade"] else []
        gain = row["gain"]
        gained = _interval(gain["delta"], gain["low"], gain["high"], "+.4f") if gain else "-"
        lines += [
            "",
            row["generator"],
            f"  accepted       {_mean(row['accepted'])} of {row['asked']}{f' ({refused})' if refused else ''}",
            f"  round trip     {_mean(row['round_trip'])}",
            f"  mean distance  {_mean(row['distance'], '.3f')}",
            f"  distinct-2     {'-' if row['distinct_2'] is None else format(row['distinct_2'], '.3f')}",
            *grade,
            f"  false neg.     {share}",
            f"  probe gain     {gained} nDCG@10",
            f"  cost           {cost['usd']:.4f} USD, {cost['calls']} calls, {cost['tokens']:,} tokens, "
            f"{cost['seconds']:.0f} s{_paid_before(cost)}",
        ]
        lines += [f"  stopped early  {row['ended']}"] if row["ended"] else []
    return "\n".join(lines)


def _paid_before(cost: GeneratorCost) -> str:
    """Return what of a generator's cost an earlier run paid; empty if nothing."""
    paid, calls = cost.get("paid_usd", cost["usd"]), cost.get("paid_calls", cost["calls"])
    if calls >= cost["calls"]:
        return ""
    return f"; paid now: {paid:.4f} USD, {calls} calls, the rest before"


def _mean(value: Mean | None, form: str = ".0%") -> str:
    return "-" if value is None else _interval(value["mean"], value["low"], value["high"], form)


def _interval(middle: float, low: float, high: float, form: str) -> str:
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"
