"""The end of a run: write the model, prove it in a fresh process, open test once, report."""

from __future__ import annotations

from collections.abc import Sequence

from stm_agent.backbone.instruction import Instruction
from stm_agent.errors import StmAgentError
from stm_agent.evaluate.baselines import ReadyModel, bm25_run
from stm_agent.evaluate.metrics import Scores, score
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.files import content_hash, write_json
from stm_agent.loop.context import RunContext
from stm_agent.loop.controls import train_controls
from stm_agent.loop.export import prove_model, write_model
from stm_agent.loop.report import Report, finished_report, stopped_report
from stm_agent.loop.state import Expert, RatedModel, State

ROW_NAMES = {"embedded:all-minilm-l6-v2": "all-MiniLM-L6-v2"}


def finish(context: RunContext, state: State, *, controls: bool) -> Report:
    """Export the confirmed model, score it from disk, open test, and store the report."""
    best = state.confirmed
    if best.model == state.base.model:
        context.note("final", "no trained model's gain was confirmed; the backbone is written as the model")
    trained = train_controls(context, state) if controls else []
    with context.timed("export", "writing the model and scoring it in a fresh process"):
        prove_model(context, best, write_model(context, best))
    with context.timed("test", "opening the test queries, once"):
        rows = _test_rows(context, state, trained)
    report = finished_report(context, state, rows)
    write_json(context.run.report, report)
    context.run.ledger.record("finished", test=report["rows"]["merged"]["ndcg_at_10"])
    return report


def finish_early(context: RunContext, state: State, reason: str) -> Report:
    """Export the best model so far without opening test; the same command resumes the run.

    The best model so far is the best on the search half, including experts of an unfinished round; its gain is not
    confirmed.
    """
    floor = state.base.rating.general - context.spec.merge.forgetting_budget
    experts = [expert.rated for expert in context.trained if expert.rated.rating.general >= floor]
    best = max([state.provisional, *experts], key=lambda rated: context.searched(rated.rating.domain))
    with context.timed("export", f"{reason}; writing the best model so far"):
        write_model(context, best)
    report = stopped_report(context, state, best, reason)
    write_json(context.run.report, report)
    context.run.ledger.record("stopped", reason=reason, model=best.label)
    return report


def _test_rows(context: RunContext, state: State, controls: Sequence[Expert]) -> dict[str, Scores]:
    best = state.confirmed
    final = content_hash([best.model.source_key(), best.instruction.query, best.instruction.passage])
    split = context.firewall.open_test(final, again=context.goes_on)
    test = ScoredTask("test", context.documents, split)
    rows = {"BM25": score(bm25_run(context.documents, split.queries), split.qrels)}
    if context.spec.baseline:
        _baseline_row(context, test, rows)
    rows["base"] = context.score(state.base.model, test, state.base.instruction)
    models = [(f"expert {expert.name}", expert.rated) for expert in state.experts]
    models += [(control.name, control.rated) for control in controls]
    for name, rated in [*models, ("merged", best)]:
        rows[name] = _row(context, test, rated)
    context.run.ledger.record("test", rows={name: row.ndcg_at_10 for name, row in rows.items()})
    write_json(context.run.folder / "test_per_query.json", {name: dict(row.per_query) for name, row in rows.items()})
    return rows


def _row(context: RunContext, test: ScoredTask, rated: RatedModel) -> Scores:
    return context.score(rated.model, test, rated.instruction)


def _baseline_row(context: RunContext, test: ScoredTask, rows: dict[str, Scores]) -> None:
    """Add the row of the ready-made encoder; if it cannot be loaded, the report has no such row."""
    name = str(context.spec.baseline)
    try:
        ready = ReadyModel(name)
        prompts = ready.open().model.prompts
        rows[ROW_NAMES.get(name, name)] = context.score(ready, test, Instruction.none(prompts))
    except StmAgentError as error:
        context.fail("baseline", error)
