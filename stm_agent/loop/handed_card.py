"""The card that is handed in with a model: that of its folder, with the results on test, the prompts and the limits."""

from __future__ import annotations

from collections.abc import Iterator

from stm_agent.loop.report_rows import Report
from stm_agent.loop.state import START


def handed_card(card: str, report: Report) -> str:
    """Return a model's card with the parts that are known only when test was opened.

    Args:
        card: The card in the model's folder, Markdown.
        report: Report of the finished run.
    """
    return "\n".join([card.rstrip(), "", *_results(report), *_prompts(report), *_limits(report), ""])


def _results(report: Report) -> Iterator[str]:
    collection = report["collection"]
    written = " that an LLM wrote" if "test" in collection["synthetic"] else ""
    yield "## Results on test"
    yield ""
    yield (
        f"{collection['test_queries']:,} queries{written}, {collection['documents']:,} documents, opened "
        f"{report['test_openings']} time(s). Intervals: 95 %, bootstrap over queries, paired for differences."
    )
    yield ""
    yield "| row | nDCG@10 | interval | Recall@100 | MRR@10 | this model minus the row |"
    yield "|---|---|---|---|---|---|"
    for name, row in report["rows"].items():
        versus = row["merged_minus_this"]
        minus = "" if name == "merged" else f"{versus['delta']:+.3f} [{versus['low']:+.3f}, {versus['high']:+.3f}]"
        shown = "**this model**" if name == "merged" else name
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        yield (
            f"| {shown} | {row['ndcg_at_10']:.3f} | {interval} | {row['recall_at_100']:.3f} | {row['mrr_at_10']:.3f} "
            f"| {minus} |"
        )
    yield ""


def _prompts(report: Report) -> Iterator[str]:
    yield "## Prompts"
    yield ""
    yield f"- query: {_shown(report['instruction'])}"
    yield f"- passage: {_shown(report['passage_instruction'])}"
    yield ""


def _limits(report: Report) -> Iterator[str]:
    gate = report["gate"]
    yield "## Limits"
    yield ""
    yield f"- {_chosen(report)}"
    yield f"- A gain below about {gate['smallest_gain']:.3f} nDCG@10 would not have been seen."
    if "dev_to_test_gap" in report:
        yield (
            f"- nDCG@10 on all {report['collection']['dev_queries']:,} dev queries and the whole corpus: "
            f"{report['dev']['merged']:.3f}; minus that on test: {report['dev_to_test_gap']:+.3f}."
        )
    for name, guard in report.get("guards", {}).items():
        change = f"{guard['delta']:+.3f} [{guard['low']:+.3f}, {guard['high']:+.3f}]"
        yield f"- General task {name}: {guard['base']:.3f} before, {guard['merged']:.3f} after, {change}."
    for failure in report["failures"]:
        yield f"- Not tried to its end: {failure['lever']} ({failure['kind']})."


def _chosen(report: Report) -> str:
    """Return on how many dev queries the model was chosen, and on how many a gain was confirmed."""
    gate = report["gate"]
    search, accept = (f"{gate[half]:,} dev queries" for half in ("search_queries", "accept_queries"))
    if report["model_label"] == START:
        tested = f"no gain was confirmed on {accept}" if gate["looks"] else f"no change was better on {search}"
        return f"The model is the start itself, since {tested} of one collection."
    if not gate["looks"]:
        return f"Chosen on {search} of one collection; no gain was confirmed."
    if gate["mode"] == "whole":
        return f"Chosen and confirmed on the same {search} of one collection, by a test that counts all changes tried."
    return f"Chosen on {search} of one collection, and confirmed on {accept} beside them."


def _shown(text: str) -> str:
    return f"`{text}`" if text else "none"
