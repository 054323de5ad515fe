"""``stm-agent synthesize optimize``: a better text for a program that writes, judged by what it does to a model.

Cheap judgements choose what dearer ones see: ratings of single texts, then a probe, then a LoRA run, then the gate.
A judge trains no model: examples that were held out decide about its text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from stm_agent.domain.spec import DomainSpec
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.files import read_json, write_json
from stm_agent.llm.budget import read_spending
from stm_agent.loop.context import RunContext
from stm_agent.loop.events import Observer
from stm_agent.loop.grading import grader_of
from stm_agent.loop.identity import Identity, run_identity
from stm_agent.loop.judge_trials import JudgeTrials
from stm_agent.loop.lengths import with_encoding
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import open_context
from stm_agent.loop.probe import ProbeKind, ProbeSetting
from stm_agent.loop.program_gepa import search_by_gepa
from stm_agent.loop.program_held import HeldOutcome, judge_held
from stm_agent.loop.program_kinds import ProgramKind, kind_of
from stm_agent.loop.program_ladder import Outcome, climb, write_material
from stm_agent.loop.program_mipro import search_by_mipro
from stm_agent.loop.program_options import ProgramOptions, SearchOptions, require_calls, require_optimizer
from stm_agent.loop.program_rung import Rung, rank_agreement
from stm_agent.loop.program_setup import open_trials
from stm_agent.loop.program_trials import ProgramTrials, require_runnable
from stm_agent.loop.program_winner import refuse_existing, write_winner
from stm_agent.loop.query_rating import dev_part
from stm_agent.loop.runs import PROGRAM_RESULT, RunFolder, open_run
from stm_agent.loop.search_report import ProgramReport, ended_early, is_final
from stm_agent.loop.search_share import SHARE, SearchShare
from stm_agent.loop.spending_limits import SpendingLimits
from stm_agent.loop.starting import with_one_start
from stm_agent.loop.stopping import StoppableWatcher
from stm_agent.program_files import program_files
from stm_agent.progress import watched_by
from stm_agent.synthesize.load import may_be_structured
from stm_agent.synthesize.program_text import ProgramText
from stm_agent.workspace import program_path


def optimize_program(
    spec: DomainSpec, options: ProgramOptions, *, workspace: Path, runs: Path, target: Path, observer: Observer
) -> ProgramReport:
    """Search a better text for a program; write it to ``target`` if the gate accepts it.

    The same call continues a killed search: answers of LLMs, trained adapters and scores are found again. One that a
    ceiling ended returns its report, unless a ceiling is higher now: then it continues.

    Args:
        spec: The domain.
        options: LLMs, ceilings and sizes.
        workspace: Folder with ``programs/``.
        runs: Folder of runs, stages and caches.
        target: New file: ``.py`` for a program, ``.json`` for the state of one.
        observer: Receives events.

    Returns:
        The report, as stored in the run's folder.

    Raises:
        ConfigError: The program cannot be optimised, ``target`` exists, or the calls do not suffice.
        BudgetExceeded: The ceilings do not suffice for the first program.
        GenerationError: An LLM gives out; the same call continues.
        StopRequested: A stop was asked for.
    """
    spec = with_one_start(options.llm.with_structured(spec), options.llm.starts)
    program, kind = _program(spec, workspace, options)
    run = open_run(runs, f"program-{spec.name}", _identity(spec, options, workspace, program))
    try:
        if (report := _stored(run, options.llm)) is None:
            refuse_existing(target)
            with open_context(spec, options.llm, run, workspace=workspace, runs=runs, observer=observer) as context:
                context.spec, _ = with_encoding(context.spec, context.data)
                with watched_by(StoppableWatcher(observer, context.stop)):
                    report = _search(context, program, kind, options)
            write_json(run.folder / PROGRAM_RESULT, report)
        report["written"] = write_winner(run.folder, report, target)
        return report
    finally:
        run.close()


def _stored(run: RunFolder, options: Options) -> ProgramReport | None:
    """Return the report of a search that has nothing to add to it."""
    path = run.folder / PROGRAM_RESULT
    report: ProgramReport | None = read_json(path) if path.exists() else None
    return report if report is not None and is_final(report, options) else None


def _is_structured(spec: DomainSpec, options: ProgramOptions) -> bool:
    return may_be_structured(spec.synthesize.structured, options.llm.generator)


def _program(spec: DomainSpec, workspace: Path, options: ProgramOptions) -> tuple[Path, ProgramKind]:
    require_optimizer(options.optimizer)
    path = program_path(workspace, options.program)
    kind = kind_of(path, structured=_is_structured(spec, options))
    require_calls(options.llm, options.sizes.fewest_calls(kind), "--queries and --examples")
    return path, kind


def _identity(spec: DomainSpec, options: ProgramOptions, workspace: Path, program: Path) -> Identity:
    # Ceilings decide how far a search gets; everything else what it computes.
    sizes = {field.name: getattr(options, field.name) for field in dataclasses.fields(options) if field.name != "llm"}
    judge = {"judge": program_files(program_path(workspace, "judge"))} if options.judge else {}
    return {
        "kind": "program",
        **run_identity(spec, options.llm, workspace),
        "program": program_files(program),
        "search": sizes,
        **judge,
    }


def _search(context: RunContext, program: Path, kind: ProgramKind, options: ProgramOptions) -> ProgramReport:
    search, accept = (dev_part(context, half, options.documents) for half in ("search", "accept"))
    setting = ProbeSetting.of(context, search)
    structured = _is_structured(context.spec, options)
    grader = grader_of(context, options.judge, [options.llm.generator], own_text=options.own_text)
    trials = open_trials(context, kind, program, setting, options.sizes, structured=structured, grader=grader)
    first = Rung(text=ProgramText.of(program, structured=structured), rating=0.0)
    with context.timed("search", f"{options.proposals} candidates for {program.name}"):
        require_runnable(trials, first.text)
        if not isinstance(trials, JudgeTrials):
            # Paid before any candidate, since nothing can be compared without it.
            write_material(trials, first)
        found = propose(context, trials, first.text, options)
    first.rating = trials.mean(first.text)
    others = [Rung(text=text, rating=trials.mean(text)) for text in found if text.parts() != first.text.parts()]
    rungs = [first, *others]
    if isinstance(trials, JudgeTrials):
        held = judge_held(
            trials,
            first.text,
            [rung.text for rung in others],
            trials.held,
            alpha=context.spec.loop.alpha,
            seed=context.seed,
        )
        context.decide("program", held.reason, kept=held.accepted)
        return _held_report(context, trials, rungs, held, options)
    outcome = climb(trials, setting, rungs, accept, options.ladder(kind))
    context.decide("program", outcome.reason, kept=outcome.accepted)
    return _report(context, trials, setting, rungs, outcome, options, options.ladder(kind).kind)


def propose(
    context: RunContext, trials: ProgramTrials[RunContext], first: ProgramText, options: ProgramOptions
) -> list[ProgramText]:
    """Let the optimiser propose candidates within its share of the ceilings; return those it kept, best rated first."""
    share = SearchShare(context, SpendingLimits.of(options.llm).part(SHARE), trials.end_early)
    searching = SearchOptions(proposals=options.proposals, seed=context.seed, stops=share.is_spent)
    if options.optimizer == "mipro":
        return search_by_mipro(trials, first, context.reflection, searching)
    return search_by_gepa(trials, first, context.reflection, searching)


def _report(
    context: RunContext,
    trials: ProgramTrials[RunContext],
    setting: ProbeSetting,
    rungs: Sequence[Rung],
    outcome: Outcome,
    options: ProgramOptions,
    probe: ProbeKind,
) -> ProgramReport:
    task: ScoredTask = setting.task
    winner = outcome.winner.text if outcome.winner else None
    report = _candidates(context, trials, rungs, winner, options, accepted=outcome.accepted, reason=outcome.reason)
    report["untrained"] = setting.untrained().ndcg_at_10
    report["verdict"] = dataclasses.asdict(outcome.verdict) if outcome.verdict else None
    report["confirmation"] = dataclasses.asdict(outcome.confirmation) if outcome.confirmation else None
    report["probe"] = {"kind": probe, **rank_agreement(rungs)}
    report["passages"] = len(task.documents)
    return report


def _held_report(
    context: RunContext, trials: JudgeTrials, rungs: Sequence[Rung], held: HeldOutcome, options: ProgramOptions
) -> ProgramReport:
    report = _candidates(context, trials, rungs, held.winner, options, accepted=held.accepted, reason=held.reason)
    report["held_out"] = {
        "gain": held.gain,
        "p_value": held.p_value,
        "examples": len(trials.held),
        "means": held.held,
    }
    return report


def _candidates(
    context: RunContext,
    trials: ProgramTrials[RunContext],
    rungs: Sequence[Rung],
    winner: ProgramText | None,
    options: ProgramOptions,
    *,
    accepted: bool,
    reason: str,
) -> ProgramReport:
    """Return the part of a report that all kinds of programs have."""
    spent = read_spending(context.run.llm_ledger)
    return {
        "run": context.run.id,
        "program": str(trials.program),
        "structured": trials.structured,
        "candidate": str(trials.file_of(winner).relative_to(context.run.folder)) if winner else None,
        "cost": {"usd": spent.usd, "calls": spent.calls, "minutes": context.clock.seconds() / 60},
        "warnings": list(context.warnings),
        "accepted": accepted,
        "reason": reason,
        "ended": ended_early(trials.ended, options.llm),
        "candidates": [rung.to_json(trials.name_of(rung.text)) for rung in rungs],
    }
