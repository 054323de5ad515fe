"""What the commands below ``stm-agent synthesize`` print."""

from __future__ import annotations

from typing import Any


def counts_text(counts: dict[str, Any]) -> str:
    """Return the counts of what was written, a block for each kind if there are several."""
    lines = []
    for name, value in counts.items():
        if isinstance(value, dict):
            lines += [name, *(f"  {row}" for row in counts_text(value).splitlines())]
        else:
            lines.append(f"{name:<24} {value}")
    return "\n".join(lines)


def search_text(report: dict[str, Any]) -> str:
    """Return the candidates with what each rung said, the cost, and what was written."""

    def number(value: float | None) -> str:
        return f"{value:.4f}" if value is not None else "-"

    lines = [f"{'trial':<8}{'rating':>8}{'texts':>8}{'probe':>9}{'lora':>9}"]
    lines += [
        f"{row['trial']:<8}{row['rating']:>8.3f}{row['pairs']:>8}{number(row['probe']):>9}{number(row['lora']):>9}"
        for row in report["candidates"]
    ]
    cost = report["cost"]
    lines += [
        *_upper_rungs(report),
        f"cost: {cost['usd']:.4f} USD, {cost['calls']} calls, {cost['minutes']:.1f} minutes",
        report["reason"],
        f"written: {report['written']}" if report["written"] else "nothing is written: the program stays as it is",
    ]
    return "\n".join(lines)


def _upper_rungs(report: dict[str, Any]) -> list[str]:
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


def comparison_text(report: dict[str, Any]) -> str:
    """Return a block of lines for each generator."""

    def interval(value: dict[str, float] | None, mean: str = "mean", form: str = ".0%") -> str:
        if value is None:
            return "-"
        return f"{value[mean]:{form}} [{value['low']:{form}}, {value['high']:{form}}]"

    lines = [f"{report['passages']} passages; probe {report['probe']}; untrained nDCG@10 {report['untrained']:.4f}"]
    for row in report["rows"]:
        cost = row["cost"]
        refused = ", ".join(f"{number} {reason}" for reason, number in sorted(row["refused"].items()))
        relevant = row["false_negatives"]
        share = relevant.get("reason") or f"{interval(relevant, 'share', '.1%')} by {relevant['by']}"
        grade = [f"  judge's grade  {interval(row['grade'], form='.2f')} of 3"] if row["grade"] else []
        lines += [
            "",
            row["generator"],
            f"  accepted       {interval(row['accepted'])} of {row['asked']}{f' ({refused})' if refused else ''}",
            f"  round trip     {interval(row['round_trip'])}",
            f"  mean distance  {interval(row['distance'], form='.3f')}",
            f"  distinct-2     {'-' if row['distinct_2'] is None else format(row['distinct_2'], '.3f')}",
            *grade,
            f"  false neg.     {share}",
            f"  probe gain     {interval(row['gain'], 'delta', '+.4f')} nDCG@10",
            f"  cost           {cost['usd']:.4f} USD, {cost['calls']} calls, {cost['tokens']:,} tokens, "
            f"{cost['seconds']:.0f} s",
        ]
        lines += [f"  stopped early  {row['ended']}"] if row["ended"] else []
    return "\n".join(lines)
