"""The report of a run: ``report.json``, typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from stm_agent.domain.measures import language_codes
from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.significance import confidence_interval, paired_bootstrap
from stm_agent.files import read_jsonl
from stm_agent.loop.context import RunContext
from stm_agent.loop.forgetting import GuardRow
from stm_agent.loop.looks import alpha_spent
from stm_agent.loop.report_rows import SCHEMA, Cost, GateReport, Report, Row, Writing
from stm_agent.loop.state import RatedModel, State


def finished_report(
    context: RunContext,
    state: State,
    rows: Mapping[str, Scores],
    on_dev: Mapping[str, float],
    guards: dict[str, GuardRow],
    untouched: str | None,
) -> Report:
    """Return the report of a run whose test was opened.

    Args:
        context: The run.
        state: Its last state.
        rows: Scores on test by name.
        on_dev: nDCG@10 of ``base`` and ``merged`` over all dev queries and the whole corpus.
        guards: The general tasks by name.
        untouched: Row of the start as it comes; None: there is none.
    """
    report = _report(context, state, state.confirmed, "finished", "")
    report["rows"] = {name: _row(name, rows, context) for name in rows}
    report["collection"]["test_queries"] = len(rows["merged"].per_query)
    report["dev"] = dict(on_dev)
    report["guards"] = guards
    report["untouched"] = untouched
    report["dev_to_test_gap"] = on_dev["merged"] - rows["merged"].ndcg_at_10
    return report


def stopped_report(context: RunContext, state: State, best: RatedModel, reason: str) -> Report:
    """Return the report of a run that was stopped: dev scores of the best model so far, test still closed."""
    return _report(context, state, best, "stopped", reason)


def _report(
    context: RunContext, state: State, best: RatedModel, what: Literal["finished", "stopped"], reason: str
) -> Report:
    searched = {expert.name: expert.rated.rating.domain.ndcg_at_10 for expert in state.experts}
    base = state.base.rating
    return {
        "schema": SCHEMA,
        "run": context.run.id,
        "state": what,
        "reason": reason,
        "domain": context.spec.name,
        "seed": context.seed,
        "collection": {
            "name": context.data.collection.name,
            "source": context.data.collection.source,
            "licence": context.data.collection.licence,
            "documents": len(context.documents),
            "dev_queries": len(context.dev.split.queries),
            "synthetic": list(context.firewall.synthetic),
            "languages": list(language_codes([*context.documents.values()])),
        },
        "rows": {},
        "best_expert_on_dev": max(searched, key=lambda name: searched[name]) if searched else None,
        "model_label": best.label,
        "weights": {name: weight for name, weight in best.weights.items() if weight},
        "rank_correlation": state.merge.rank_correlation if state.merge else None,
        "front": list(state.merge.front) if state.merge else [],
        "front_taken": _point_taken(state, best),
        "instruction": best.instruction.query,
        "passage_instruction": best.instruction.passage,
        "dev": {"base": base.domain.ndcg_at_10, "merged": best.rating.domain.ndcg_at_10},
        "general": {"base": base.general, "merged": best.rating.general},
        "gate": _gate(context, state),
        "race": [row.to_json() for row in context.plan.race] if context.plan else [],
        "plan": list(context.plan.reasons) if context.plan else [],
        "test_openings": context.firewall.openings,
        "failures": [dataclasses.asdict(failure) for failure in context.failures],
        "warnings": list(context.warnings),
        "notes": list(context.notes),
        "budget": {"usd": context.generator.usd, "minutes": context.minutes, "calls": context.generator.calls},
        "cost": _cost(context, state),
        "model": _relative(context.run.model),
    }


def _point_taken(state: State, best: RatedModel) -> int | None:
    """Return the number, from 1, of the front's point that is the exported model; None: it is not on the front."""
    if state.merge is None or best.model.query_map is not None:
        return None
    names = [expert.name for expert in state.merged]
    for number, point in enumerate(state.merge.front, 1):
        weights = {name: weight for name, weight in zip(names, point["weights"], strict=True) if weight}
        same = weights == {name: weight for name, weight in best.weights.items() if weight}
        if same and point["method"] == best.model.merged.method.model_dump(mode="json"):
            return number
    return None


def _gate(context: RunContext, state: State) -> GateReport:
    halves = context.gate.halves
    return {
        "mode": halves.mode,
        "search_queries": len(halves.search),
        "accept_queries": len(halves.accept),
        "alpha": context.gate.spec.alpha,
        "smallest_gain": context.gate.smallest_gain(),
        # Those before a raised budget included.
        "looks": len(context.run.ledger.entries("look")),
        "alpha_spent": alpha_spent(context),
        "considered": state.considered,
    }


def _row(name: str, rows: Mapping[str, Scores], context: RunContext) -> Row:
    scores, loop = rows[name], context.spec.loop
    interval = confidence_interval(scores.per_query, samples=loop.bootstrap, seed=context.seed, alpha=loop.alpha)
    versus = paired_bootstrap(
        rows["merged"].per_query, scores.per_query, samples=loop.bootstrap, seed=context.seed, alpha=loop.alpha
    )
    return {
        "ndcg_at_10": scores.ndcg_at_10,
        "low": interval.low,
        "high": interval.high,
        "recall_at_100": scores.recall_at_100,
        "mrr_at_10": scores.mrr_at_10,
        "merged_minus_this": {
            "delta": versus.delta,
            "low": versus.low,
            "high": versus.high,
            "p_value": versus.p_value,
        },
    }


def _cost(context: RunContext, state: State) -> Cost:
    from stm_agent.llm.budget import read_spending

    spent = read_spending(context.run.llm_ledger)
    # Over all scorings of the run, those of earlier processes included.
    texts, seconds = context.encoded
    return {
        "usd": spent.usd,
        "llm_calls": spent.calls,
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "minutes": round(context.clock.seconds() / 60, 2),
        "seconds": {name: round(value, 1) for name, value in _seconds(context).items()},
        # Time outside of jobs.
        "overhead_share": round(context.clock.overhead_share(), 4),
        "texts_per_second": {
            "encoding": round(texts / seconds, 1) if seconds else 0.0,
            "training": round(sum(expert.texts_per_second for expert in state.experts) / max(len(state.experts), 1), 1),
        },
        "peak_memory_gib": round(context.memory.gib, 2),
        "writing": _writing(context),
    }


def _writing(context: RunContext) -> dict[str, Writing]:
    """Return kind of text -> counts and cost of all stages of the run that wrote it."""
    # Entries of an earlier version say nothing about what was written, or of which job a stage is a part: the whole
    # one takes the place of what was salvaged before.
    entries = [entry for entry in context.run.ledger.entries("written") if "what" in entry]
    stages = {entry.get("whole", entry["folder"]): entry for entry in entries}
    total: dict[str, Writing] = {}
    for entry in stages.values():
        row = total.setdefault(
            entry["what"],
            {"asked": 0, "written": 0, "copied": 0, "calls": 0, "tokens": 0, "usd": 0.0, "seconds": 0.0},
        )
        for name in ("asked", "written", "copied", "calls", "tokens"):
            row[name] += entry[name]
        row["usd"] += entry["usd"]
        row["seconds"] = round(row["seconds"] + entry["seconds"], 1)
    return total


def _seconds(context: RunContext) -> dict[str, float]:
    """Return the seconds of each kind of stage, over all processes that worked on the run."""
    total: dict[str, float] = {}
    for entry in read_jsonl(context.run.seconds):
        total[entry["name"]] = total.get(entry["name"], 0.0) + entry["seconds"]
    return total


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
