"""``stm-agent loop optimize-planner``: a better text for the planner's program, by what past decisions brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import stm_agent
from stm_agent.clock import RunClock
from stm_agent.domain.synthesize_spec import SynthesizeSpec
from stm_agent.errors import ConfigError
from stm_agent.files import content_hash, read_json, write_json
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.budget import read_spending
from stm_agent.llm.options import LlmOptions
from stm_agent.loop.events import Observer
from stm_agent.loop.identity import Identity
from stm_agent.loop.options import Options
from stm_agent.loop.planner_examples import PastDecision, PastDecisions, Worth, read_decisions, split_decisions
from stm_agent.loop.planner_trials import PlannerRun, PlannerTrials, shown_menu
from stm_agent.loop.policies.planner import PROGRAM
from stm_agent.loop.prepare import llm_access
from stm_agent.loop.program_gepa import search_by_gepa
from stm_agent.loop.program_held import HeldOutcome, judge_held
from stm_agent.loop.program_kinds import PLANNER
from stm_agent.loop.program_mipro import search_by_mipro
from stm_agent.loop.program_options import SearchOptions, require_calls, require_optimizer
from stm_agent.loop.program_trials import require_runnable
from stm_agent.loop.program_winner import refuse_existing, write_winner
from stm_agent.loop.runs import PROGRAM_RESULT, RunFolder, open_run
from stm_agent.loop.search_report import PlannerReport, ended_early, is_final
from stm_agent.loop.search_share import SHARE, SearchShare
from stm_agent.loop.spending_limits import SpendingLimits
from stm_agent.loop.stopping import StoppableWatcher, StopSignal
from stm_agent.program_files import program_files
from stm_agent.progress import watched_by
from stm_agent.synthesize.program_text import ProgramText, written_fields
from stm_agent.workspace import program_path

ALPHA = 0.05
"""Level of the test on the decisions that were held out."""
TASK = "choose actions that raise nDCG@10 on the search half the most for their price"


@dataclass(frozen=True, kw_only=True)
class PlannerOptions:
    """Options of one search.

    Attributes:
        llm: The LLM that plans (``generator``), the one that rewrites (``reflection``), seed and ceilings.
        optimizer: ``gepa`` or ``mipro``.
        proposals: Candidates that are proposed.
        examples: Past decisions that candidates are rated on, at most.
        held: Past decisions that are held out, at most.
    """

    llm: Options
    optimizer: str = "gepa"
    proposals: int = 8
    examples: int = 16
    held: int = 24


def optimize_planner(
    options: PlannerOptions, *, workspace: Path, runs: Path, target: Path, observer: Observer
) -> PlannerReport:
    """Search a better text for the planner's program; write it to ``target`` if it is better on decisions held out.

    The same call continues a killed search and pays for nothing twice. One that a ceiling ended returns its report,
    unless a ceiling is higher now: then it continues.

    Args:
        options: LLMs, ceilings and sizes.
        workspace: Folder with ``programs/``.
        runs: Folder of runs, whose ledgers are the examples.
        target: New file: ``.py`` for a program, ``.json`` for the state of one.
        observer: Receives events.

    Returns:
        The report, as stored in the run's folder.

    Raises:
        ConfigError: The program cannot be optimised, ``target`` exists, or the ledgers hold too few decisions.
        BudgetExceeded: The ceilings do not suffice for the program as it is.
        GenerationError: An LLM gives out; the same call continues.
        StopRequested: A stop was asked for.
    """
    program = _program(options, workspace)
    past = read_decisions(runs)
    examples, held = split_decisions(past, seed=options.llm.seed or 0, examples=options.examples, held=options.held)
    run = open_run(runs, "planner", _identity(options, program, [*examples, *held]))
    try:
        path = run.folder / PROGRAM_RESULT
        report: PlannerReport | None = read_json(path) if path.exists() else None
        if report is None or not is_final(report, options.llm):
            refuse_existing(target)
            report = _searched(options, run, program, past, (examples, held), runs=runs, observer=observer)
            write_json(path, report)
        report["written"] = write_winner(run.folder, report, target)
        return report
    finally:
        run.close()


def _searched(
    options: PlannerOptions,
    run: RunFolder,
    program: Path,
    past: PastDecisions,
    drawn: tuple[list[PastDecision], list[PastDecision]],
    *,
    runs: Path,
    observer: Observer,
) -> PlannerReport:
    """Open the LLMs and the run's clock, and search."""
    planner, reflection = (
        _access(options.llm, name, runs, run)
        for name in (options.llm.generator, options.llm.reflection or options.llm.generator)
    )
    clock, stop = RunClock(run.clock), StopSignal(run.folder)
    context = PlannerRun(run=run, observer=observer, clock=clock, stop=stop, generator=planner)
    with clock, stop.handling_signals(), watched_by(StoppableWatcher(observer, stop)):
        return _search(context, program, reflection, past, *drawn, options)


def _program(options: PlannerOptions, workspace: Path) -> Path:
    """Return the planner's program, if it can be optimised within the calls."""
    require_optimizer(options.optimizer)
    program = program_path(workspace, PROGRAM)
    if not any(written_fields(program, PLANNER.output).values()):
        raise ConfigError(f"program {program} cannot be optimised: no predictor of it has an output 'action'")
    require_calls(options.llm, 2 * (options.examples + options.held) + 1, "--examples and --held")
    return program


def _identity(options: PlannerOptions, program: Path, rows: Sequence[PastDecision]) -> Identity:
    llm = options.llm
    return {
        "kind": "planner",
        "program": program_files(program),
        "decisions": content_hash([[row.name, row.state, shown_menu(row), row.gain, row.seconds] for row in rows]),
        "llm": _llm(llm, llm.generator).weights,
        "reflection": _llm(llm, llm.reflection or llm.generator).weights,
        "api_base": llm.api_base,
        "seed": llm.seed or 0,
        "search": {name: getattr(options, name) for name in ("optimizer", "proposals", "examples", "held")},
        "versions": {"stm-agent": stm_agent.__version__},
    }


def _llm(options: Options, model: str) -> LlmOptions:
    # As in a run of a domain that sets nothing.
    return options.llm_of(SynthesizeSpec(), model)


def _access(options: Options, model: str, runs: Path, run: RunFolder) -> LlmAccess:
    access = llm_access(_llm(options, model), options, run, runs)
    # A wrong name or an unknown price is found before anything is paid.
    access.open().close()
    return access


def _search(
    context: PlannerRun,
    program: Path,
    reflection: LlmAccess,
    past: PastDecisions,
    examples: Sequence[PastDecision],
    held: Sequence[PastDecision],
    options: PlannerOptions,
) -> PlannerReport:
    seed = options.llm.seed or 0
    trials = PlannerTrials(
        context=context,
        kind=PLANNER,
        program=program,
        structured=False,
        task=TASK,
        examples={row.name: f"{row.state}\n\n{shown_menu(row)}" for row in examples},
        decisions={row.name: row for row in (*examples, *held)},
        held=tuple(row.name for row in held),
        # What is held out says nothing about the worth of actions that candidates are chosen by.
        worth=Worth(examples),
    )
    first = ProgramText.of(program, "action")
    with context.timed("search", f"{options.proposals} candidates for {program.name}"):
        require_runnable(trials, first)
        share = SearchShare(context, SpendingLimits.of(options.llm).part(SHARE), trials.end_early)
        searching = SearchOptions(proposals=options.proposals, seed=seed, stops=share.is_spent)
        search = search_by_mipro if options.optimizer == "mipro" else search_by_gepa
        found = search(trials, first, reflection, searching)
    trials.worth = Worth([*examples, *held])
    others = [text for text in found if text.parts() != first.parts()]
    outcome = judge_held(trials, first, others, trials.held, alpha=ALPHA, seed=seed)
    context.decide("program", outcome.reason, kept=outcome.accepted)
    return _report(context, trials, [first, *others], outcome, past, options.llm)


def _report(
    context: PlannerRun,
    trials: PlannerTrials,
    texts: Sequence[ProgramText],
    outcome: HeldOutcome,
    past: PastDecisions,
    llm: Options,
) -> PlannerReport:
    spent, winner = read_spending(context.run.llm_ledger), outcome.winner
    return {
        "run": context.run.id,
        "program": str(trials.program),
        "structured": False,
        "accepted": outcome.accepted,
        "reason": outcome.reason,
        "candidate": str(trials.file_of(winner).relative_to(context.run.folder)) if winner else None,
        "candidates": [{"trial": trials.name_of(text), "rating": round(trials.mean(text), 4)} for text in texts],
        "decisions": {"rated": len(trials.examples), "held_out": len(trials.held), "unused": dict(past.unused)},
        "held_out": {"gain": outcome.gain, "p_value": outcome.p_value, "means": outcome.held},
        "cost": {
            "usd": spent.usd,
            "calls": spent.calls,
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "seconds": spent.seconds,
            "minutes": context.clock.seconds() / 60,
        },
        "warnings": list(context.warnings),
        "ended": ended_early(trials.ended, llm),
    }
