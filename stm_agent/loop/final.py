"""The end of a run: write the model, prove it in a fresh process, open test once, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stm_agent.domain.collection import Split
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.fusion import FUSION, choose_weight, fuse
from stm_agent.evaluate.metrics import Run, Scores, score
from stm_agent.evaluate.scoring import DEPTH, ScoredTask, dense_run, first_documents
from stm_agent.files import content_hash, write_json
from stm_agent.loop.advice import advice
from stm_agent.loop.answers import First, write_answers
from stm_agent.loop.as_loaded import as_loaded
from stm_agent.loop.context import RunContext
from stm_agent.loop.controls import train_controls
from stm_agent.loop.ending import best_alone
from stm_agent.loop.export import prove_model, write_model
from stm_agent.loop.forgetting import general_floor, guard_rows
from stm_agent.loop.handing_in import write_card, write_results
from stm_agent.loop.own_length import at_own_length
from stm_agent.loop.ready_rows import PlainRow, plan_row, ready_rows
from stm_agent.loop.report import finished_report, stopped_report
from stm_agent.loop.report_rows import Report
from stm_agent.loop.state import Expert, RatedModel, State

UNMAPPED = "merged without query map"
"""Row of the exported model without its map on query vectors."""
FUSED = "merged + BM25"
"""Row of the exported model fused with BM25."""


def finish(context: RunContext, state: State, *, controls: bool) -> Report:
    """Export the confirmed model, score it from disk, open test, and store the report."""
    if state.confirmed.model == state.base.model:
        reason = "no trained model's gain is claimed, so the start is written as the model"
        context.warn("final", f"{reason}; {advice(context)}")
    trained = train_controls(context, state) if controls else []
    plain_row = plan_row(context, state)
    with context.timed("export", "writing the model and scoring it in a fresh process"):
        state, exported = _export(context, state)
    with context.timed("test", "opening the test queries, once"):
        measured = as_loaded(context, _measured(state, exported, plain_row))
        rows = _test_rows(context, state, exported, measured, plain_row, trained)
    on_dev = {
        name: context.score(rated.model, context.dev, rated.instruction).ndcg_at_10
        for name, rated in (("base", _base(state, measured)), ("merged", measured))
    }
    guards = guard_rows(context, state)
    untouched = plain_row.name if plain_row.name in rows else None
    report = finished_report(context, state, rows, on_dev, guards, untouched)
    write_json(context.run.report, report)
    write_card(context, report)
    context.run.ledger.record("finished", test=report["rows"]["merged"]["ndcg_at_10"])
    return report


def _export(context: RunContext, state: State) -> tuple[State, RatedModel]:
    """Write and prove the confirmed model; if that fails, the start.

    Returns:
        The state with what was written, and that model: the start is written at its own length.
    """
    exported = at_own_length(context, state.confirmed)
    with context.attempt("export") as caught:
        prove_model(context, exported, write_model(context, exported))
    if not caught:
        return state, exported
    if state.confirmed.model == state.base.model:
        raise caught[0]
    context.warn("final", f"{state.confirmed.label} cannot be exported; the backbone is written as the model")
    exported = at_own_length(context, state.base)
    prove_model(context, exported, write_model(context, exported))
    return replace(state, confirmed=state.base), exported


def _measured(state: State, exported: RatedModel, plain_row: PlainRow) -> RatedModel:
    """Return what stands for the exported model on test: at the run's length, if its own takes too many minutes."""
    at_another_length = exported.model != state.confirmed.model
    return state.confirmed if at_another_length and not plain_row.scored else exported


def _base(state: State, measured: RatedModel) -> RatedModel:
    """Return the start as test scores it: in the number format of the exported model, if it is that."""
    exact = replace(state.base, model=state.base.model.in_float32)
    return exact if measured.model == exact.model else state.base


def finish_early(context: RunContext, state: State, reason: str) -> None:
    """Export the best model so far without opening test; the same command resumes the run.

    The best model so far is the best on the search half, including experts of an unfinished round; its gain is not
    confirmed. After the confirmation it is the confirmed model. A run that was finished before keeps its model.
    """
    if context.finished_before:
        # The model and the report of the finished run are worth more than a part of its continuation.
        context.run.ledger.record("stopped", reason=reason, model="as before")
        return
    floor = general_floor(context, state)
    experts = [expert.rated for expert in context.trained if expert.rated.rating.general >= floor]
    best = max([state.provisional, *experts], key=lambda rated: rated.rating.domain.ndcg_at_10)
    if state.tested:
        best = state.confirmed
    with context.timed("export", f"{reason}; writing the best model so far"):
        write_model(context, at_own_length(context, best))
    report = stopped_report(context, state, best, reason)
    write_json(context.run.report, report)
    context.run.ledger.record("stopped", reason=reason, model=best.label)


def _test_rows(
    context: RunContext,
    state: State,
    exported: RatedModel,
    best: RatedModel,
    plain_row: PlainRow,
    controls: Sequence[Expert],
) -> dict[str, Scores]:
    final = content_hash([exported.model.source_key(), exported.instruction.query, exported.instruction.passage])
    split = context.firewall.open_test(final, again=context.firewall.opened)
    test = ScoredTask("test", context.documents, split)
    with context.clock.working():
        lexical = context.lexical.run(split.queries, DEPTH, split.ignored_ids)
    rows = {"BM25": score(lexical, split.qrels)}
    first: dict[str, First] = {"BM25": first_documents(lexical)}
    base = _base(state, best)
    for name, model, instruction in ready_rows(context, replace(state, base=base), plain_row):
        with context.attempt("baseline"):
            rows[name] = context.score(model, test, instruction)
            first[name] = context.first_documents(model, test, instruction)
    models = [(f"expert {expert.name}", expert.rated) for expert in _shown_experts(context, state)]
    models += [(control.name, control.rated) for control in controls]
    if best.model.query_map is not None:
        models.append((UNMAPPED, replace(best, model=best.model.unmapped)))
    models = [("base", base), *models, ("merged", best)]
    context.expect(context.scoring_job(rated.model, test, rated.instruction) for _, rated in models)
    for name, rated in models:
        rows[name] = context.score(rated.model, test, rated.instruction)
        first[name] = context.first_documents(rated.model, test, rated.instruction)
    with context.clock.working():
        fused = _fused(context, best, test)
        rows[FUSED], first[FUSED] = score(fused, split.qrels), first_documents(fused)
    context.run.ledger.record("test", rows={name: row.ndcg_at_10 for name, row in rows.items()})
    write_json(context.run.folder / "test_per_query.json", {name: dict(row.per_query) for name, row in rows.items()})
    write_answers(context.run.folder, split, first)
    if best.model in (exported.model, exported.model.in_float32):
        write_results(context, best, test, rows["merged"])
    return rows


def _shown_experts(context: RunContext, state: State) -> Sequence[Expert]:
    """Return the experts that get a row: all of them, or the best one if each row takes an encoding of a corpus.

    The best one is chosen on the search half.
    """
    if len(context.search.documents) == len(context.documents) or not state.experts:
        return state.experts
    return best_alone(state.experts)


def _fused(context: RunContext, best: RatedModel, test: ScoredTask) -> Run:
    """Rank by the model fused with BM25; the weight is chosen on all dev queries and recorded."""
    encoder, cache = best.model.open(), EmbeddingCache(context.cache)

    def runs(split: Split) -> tuple[Run, Run]:
        dense = dense_run(cache, encoder, context.documents, split, best.instruction, DEPTH)
        return dense, context.lexical.run(split.queries, DEPTH, split.ignored_ids)

    weight, on_dev = choose_weight(*runs(context.dev.split), context.dev.split.qrels)
    context.run.ledger.record("fusion", weight=weight, dev=on_dev.ndcg_at_10)
    write_json(context.run.folder / FUSION, {"weight": weight, "dev": on_dev.ndcg_at_10})
    return fuse(*runs(test.split), weight)
