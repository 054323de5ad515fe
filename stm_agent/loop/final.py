"""The end of a run: write the model, prove it in a fresh process, open test once, report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stm_agent.backbone.instruction import Instruction
from stm_agent.errors import CheckFailed
from stm_agent.evaluate.baselines import bm25_run, static_encoder
from stm_agent.evaluate.metrics import Scores, score
from stm_agent.evaluate.significance import confidence_interval, paired_bootstrap
from stm_agent.files import content_hash, write_json
from stm_agent.loop.context import Rating, RunContext
from stm_agent.loop.controls import train_controls
from stm_agent.loop.experts import Expert
from stm_agent.loop.merging import Merged

SCHEMA = 1
ROW_NAMES = {"embedded:all-minilm-l6-v2": "all-MiniLM-L6-v2"}


def finish(
    context: RunContext,
    base: Rating,
    experts: Sequence[Expert],
    merged: Merged | None,
    instruction: Instruction,
    *,
    controls: bool,
) -> dict[str, Any]:
    """Export the winner, re-score it from disk, open test, and store the report."""
    if merged is None:
        context.note("final", "no merge was better than the untouched backbone; the backbone is written as the model")
    trained = train_controls(context, experts, instruction) if controls else []
    with context.timed("export", "writing the merged model and re-scoring it in a fresh process"):
        from stm_agent.loop.export import write_model

        write_model(context, merged, instruction)
        dev = (merged.rating if merged else base).domain.ndcg_at_10
        _prove(context, dev)
    with context.timed("test", "opening the test queries, once"):
        rows = _test_rows(context, experts, merged, trained, instruction)
    report = _report(context, rows, base, experts, merged, instruction)
    write_json(context.run.report, report)
    context.run.ledger.record(
        "finished", model=str(context.run.model.name), test=report["rows"]["merged"]["ndcg_at_10"]
    )
    return report


def _prove(context: RunContext, expected: float) -> None:
    """Re-score the exported folder on dev in a fresh process; it must give the ledger's number."""
    dev = context.run.folder / "dev"
    from stm_agent.domain.collection import write_beir

    if not dev.exists():
        write_beir(context.data.collection, dev)
    command = [sys.executable, "-m", "stm_agent", "evaluate", str(context.run.model), "--collection", str(dev)]
    done = subprocess.run([*command, "--split", "dev", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckFailed(
            "reload", float(done.returncode), f"a fresh process cannot score the model: {done.stderr[-300:]}"
        )
    measured = float(json.loads(done.stdout)["ndcg_at_10"])
    if abs(measured - expected) > 1e-4:
        raise CheckFailed(
            "reload", measured, f"dev nDCG@10 from disk is not the ledger's {expected:.4f}; do not use it"
        )
    context.run.ledger.record("proved", dev=expected, reloaded=measured)


def _test_rows(
    context: RunContext,
    experts: Sequence[Expert],
    merged: Merged | None,
    controls: Sequence[Expert],
    instruction: Instruction,
) -> dict[str, Scores]:
    final = content_hash({"merged": merged.weights if merged else {}, "instruction": instruction.query})
    test = context.firewall.open_test(final)
    rows = {"BM25": score(bm25_run(context.documents, test.queries), test.qrels)}
    baseline = context.spec.baseline
    if baseline:
        ready = static_encoder(baseline)
        rows[ROW_NAMES.get(baseline, baseline)] = context.scores(ready, test, Instruction.none(ready.model.prompts))
    rows["base"] = context.scores(context.encoder(), test, instruction.unsaid())
    for expert in experts:
        rows[f"expert {expert.name}"] = context.scores(context.encoder(expert.delta), test, expert.instruction)
    for control in controls:
        rows[control.name] = context.scores(context.encoder(control.delta), test, instruction)
    rows["merged"] = context.scores(context.encoder(merged.delta if merged else None), test, instruction)
    context.run.ledger.record("test", rows={name: row.ndcg_at_10 for name, row in rows.items()})
    write_json(context.run.folder / "test_per_query.json", {name: dict(row.per_query) for name, row in rows.items()})
    return rows


def _row(name: str, rows: Mapping[str, Scores], context: RunContext) -> dict[str, object]:
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
        "merged_minus_this": {"delta": versus.delta, "low": versus.low, "high": versus.high, "p_value": versus.p_value},
    }


def _report(
    context: RunContext,
    rows: Mapping[str, Scores],
    base: Rating,
    experts: Sequence[Expert],
    merged: Merged | None,
    instruction: Instruction,
) -> dict[str, Any]:
    spent = context.budget.spent
    best = max(experts, key=lambda expert: expert.rating.domain.ndcg_at_10).name if experts else None
    return {
        "schema": SCHEMA,
        "run": context.run.id,
        "domain": context.spec.name,
        "seed": context.seed,
        "collection": {
            "name": context.data.collection.name,
            "source": context.data.collection.source,
            "licence": context.data.collection.licence,
            "documents": len(context.documents),
            "test_queries": len(rows["merged"].per_query),
        },
        "rows": {name: _row(name, rows, context) for name in rows},
        "best_expert_on_dev": best,
        "weights": merged.weights if merged else {},
        "rank_correlation": merged.rank_correlation if merged else None,
        "front": list(merged.front) if merged else [],
        "instruction": instruction.query,
        "dev": {"base": base.domain.ndcg_at_10, "merged": (merged.rating if merged else base).domain.ndcg_at_10},
        "general": {"base": base.general, "merged": (merged.rating if merged else base).general},
        "cost": {
            "usd": spent.usd,
            "llm_calls": spent.calls,
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "seconds": {name: round(value, 1) for name, value in context.seconds().items()},
            "texts_per_second": {
                "encoding": round(context.cache.texts_per_second, 1),
                "training": round(sum(expert.texts_per_second for expert in experts) / max(len(experts), 1), 1),
            },
            "peak_memory_gib": round(context.memory.gib, 2),
        },
        "model": _relative(context.run.model),
    }


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
