"""``stm-agent synthesize optimize``: a better text for a program that writes, judged by what its pairs do to a model.

Cheap judgements choose what dearer ones see: ratings of single queries, then a probe, then a LoRA run, then the gate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.files import read_json, write_atomic, write_json
from stm_agent.llm.access import spending
from stm_agent.loop.context import RunContext
from stm_agent.loop.events import Observer
from stm_agent.loop.identity import run_identity
from stm_agent.loop.lengths import with_encoding
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import open_context
from stm_agent.loop.probe import DEFAULT_PROBE, ProbeKind, ProbeSetting
from stm_agent.loop.program_gepa import search_by_gepa
from stm_agent.loop.program_ladder import (
    LadderOptions,
    Outcome,
    Rung,
    climb,
    rank_agreement,
    write_pairs,
)
from stm_agent.loop.program_mipro import search_by_mipro
from stm_agent.loop.program_trials import ProgramTrials, SearchOptions, require_runnable
from stm_agent.loop.query_rating import dev_part, draw_passages, people_of, query_rater
from stm_agent.loop.runs import PROGRAM_RESULT, open_run
from stm_agent.loop.starting import with_starts
from stm_agent.loop.stopping import StoppableWatcher
from stm_agent.program_files import program_files
from stm_agent.progress import watched_by
from stm_agent.synthesize.program import may_be_structured
from stm_agent.synthesize.program_text import ProgramText, query_fields, save_state
from stm_agent.workspace import program_path

SEARCH_SHARE = 0.5
"""Share of the dollars, calls and minutes for proposing candidates; the rest is for comparing them."""
FEWEST_PASSAGES = 2
"""Passages without which luck decides between candidates."""
OPTIMIZERS = ("gepa", "mipro")
EXISTS = "{} exists; name a new file with --output, nothing is overwritten"


@dataclass(frozen=True, kw_only=True)
class ProgramOptions:
    """Options of one search.

    Attributes:
        llm: Generator, reflecting LLM, seed, and ceilings on dollars, calls and minutes.
        program: Name of the program in ``programs/``.
        optimizer: How candidates are proposed: GEPA's reflection or, for comparison, DSPy's MIPROv2, which proposes
            instructions only and needs the extra ``optuna``.
        proposals: Candidates that are proposed.
        examples: Passages that candidates are rated on.
        queries: Passages that a candidate writes for before its pairs are trained on.
        probes: Candidates that are probed, beside the first one.
        finalists: Candidates with a LoRA run, beside the first one.
        kind: The probe.
        lora_steps: Steps of a LoRA run.
        documents: Passages that models are scored on; judged ones always are.
    """

    llm: Options
    program: str = "queries"
    optimizer: str = "gepa"
    proposals: int = 8
    examples: int = 12
    queries: int = 48
    probes: int = 4
    finalists: int = 2
    kind: ProbeKind = DEFAULT_PROBE
    lora_steps: int = 60
    documents: int = 1000

    @property
    def fewest_calls(self) -> int:
        """Calls without which nothing can be compared: the first program on all passages, and one candidate."""
        return 2 * (self.examples + self.queries) + 1


def optimize_program(
    spec: DomainSpec, options: ProgramOptions, *, workspace: Path, runs: Path, target: Path, observer: Observer
) -> dict[str, Any]:
    """Search a better text for a program; write it to ``target`` if the gate accepts it.

    The same call continues a killed search: answers of LLMs, trained adapters and scores are found again.

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
        StopRequested: A stop was asked for.
    """
    spec = _one_start(spec, options.llm)
    program = _program(spec, workspace, options)
    run = open_run(runs, f"program-{spec.name}", _identity(spec, options, workspace, program))
    try:
        if (result := run.folder / PROGRAM_RESULT).exists():
            report: dict[str, Any] = read_json(result)
            report["written"] = _write(run.folder, report, target)
            return report
        if target.exists():
            raise ConfigError(EXISTS.format(target))
        with open_context(spec, options.llm, run, workspace=workspace, runs=runs, observer=observer) as context:
            context.spec, _ = with_encoding(context.spec, context.data)
            with watched_by(StoppableWatcher(observer, context.stop)):
                report = _search(context, program, options)
        write_json(result, report)
        report["written"] = _write(run.folder, report, target)
        return report
    finally:
        run.close()


def _one_start(spec: DomainSpec, options: Options) -> DomainSpec:
    """Return the domain with one start: which model is adapted does not matter for comparing texts, so none race."""
    return with_starts(spec, options.starts[:1]).model_copy(update={"starts": ()})


def _is_structured(spec: DomainSpec, options: ProgramOptions) -> bool:
    return may_be_structured(spec.synthesize.structured, options.llm.generator)


def _program(spec: DomainSpec, workspace: Path, options: ProgramOptions) -> Path:
    if options.optimizer not in OPTIMIZERS:
        raise ConfigError(f"--optimizer {options.optimizer} does not exist; use {' or '.join(OPTIMIZERS)}")
    calls = options.llm.budget_calls
    if calls is not None and calls < options.fewest_calls:
        raise ConfigError(
            f"--budget-calls {calls} cannot compare two programs; raise it to {options.fewest_calls} or more, "
            "or lower --queries and --examples"
        )
    path = program_path(workspace, options.program)
    if not any(query_fields(path, structured=_is_structured(spec, options)).values()):
        raise ConfigError(f"program {path} cannot be optimised: it writes no queries, which alone can be rated")
    return path


def _identity(spec: DomainSpec, options: ProgramOptions, workspace: Path, program: Path) -> dict[str, Any]:
    sizes = {name: getattr(options, name) for name in SIZES}
    return {
        "kind": "program",
        **run_identity(spec, options.llm, workspace),
        "program": program_files(program),
        "search": sizes,
    }


SIZES = (
    "program",
    "optimizer",
    "proposals",
    "examples",
    "queries",
    "probes",
    "finalists",
    "kind",
    "lora_steps",
    "documents",
)
"""Options that decide the result; ceilings decide how far a search gets."""


def _search(context: RunContext, program: Path, options: ProgramOptions) -> dict[str, Any]:
    search, accept = (dev_part(context, half, options.documents) for half in ("search", "accept"))
    setting = ProbeSetting.of(context, search)
    people = people_of(context)
    trials = _trials(context, program, setting, people, options)
    first = Rung(text=ProgramText.of(program, structured=trials.structured), rating=0.0)
    passages = draw_passages(context.data.pool, options.queries, context.seed + 1)
    with context.timed("search", f"{options.proposals} candidates for {program.name}"):
        require_runnable(trials, first.text)
        # Paid before any candidate, since nothing can be compared without it.
        write_pairs(trials, first, passages)
        searching = SearchOptions(
            proposals=options.proposals, seed=context.seed, stops=lambda: _is_half_spent(context, options)
        )
        if options.optimizer == "mipro":
            found = search_by_mipro(trials, first.text, context.reflection, searching)
        else:
            found = search_by_gepa(trials, first.text, context.reflection, people, searching)
    first.rating = trials.mean(first.text)
    others = [Rung(text=text, rating=trials.mean(text)) for text in found if text.parts() != first.text.parts()]
    ladder = LadderOptions(
        passages=passages,
        probes=options.probes,
        finalists=options.finalists,
        kind=options.kind,
        lora_steps=options.lora_steps,
    )
    outcome = climb(trials, setting, [first, *others], accept, ladder)
    context.decide("program", outcome.reason, kept=outcome.accepted)
    return _report(context, trials, setting, [first, *others], outcome, options)


def _trials(
    context: RunContext, program: Path, setting: ProbeSetting, people: Sequence[Pair], options: ProgramOptions
) -> ProgramTrials:
    examples = draw_passages(context.data.pool, options.examples, context.seed)
    if len(examples) < FEWEST_PASSAGES:
        raise ConfigError(
            f"the corpus has {len(examples)} passages; a program needs {FEWEST_PASSAGES} or more to write for"
        )
    rater = query_rater(context, setting, examples, people)
    return ProgramTrials(
        context=context,
        program=program,
        structured=_is_structured(context.spec, options),
        rater=rater,
        passages=examples,
    )


def _is_half_spent(context: RunContext, options: ProgramOptions) -> bool:
    """Return whether what is left of the ceilings is needed to compare candidates."""
    spent = spending(context.run.llm_ledger)
    llm = options.llm
    usd, minutes, calls = llm.budget_usd, llm.budget_minutes, llm.budget_calls
    return (
        (calls is not None and spent.calls >= calls * SEARCH_SHARE)
        or (usd is not None and spent.usd >= usd * SEARCH_SHARE)
        or (minutes is not None and context.clock.seconds() >= minutes * 60 * SEARCH_SHARE)
    )


def _report(
    context: RunContext,
    trials: ProgramTrials,
    setting: ProbeSetting,
    rungs: Sequence[Rung],
    outcome: Outcome,
    options: ProgramOptions,
) -> dict[str, Any]:
    spent = spending(context.run.llm_ledger)
    winner = outcome.winner
    return {
        "run": context.run.id,
        "program": str(trials.program),
        "structured": trials.structured,
        "accepted": outcome.accepted,
        "reason": outcome.reason,
        "candidate": str(trials.file_of(winner.text).relative_to(context.run.folder)) if winner else None,
        "untrained": setting.untrained().ndcg_at_10,
        "candidates": [rung.to_json(trials) for rung in rungs],
        "verdict": dataclasses.asdict(outcome.verdict) if outcome.verdict else None,
        "confirmation": dataclasses.asdict(outcome.confirmation) if outcome.confirmation else None,
        "probe": {"kind": options.kind, **rank_agreement(rungs)},
        "passages": len(setting.task.documents),
        "cost": {"usd": spent.usd, "calls": spent.calls, "minutes": context.clock.seconds() / 60},
        "warnings": list(context.warnings),
    }


def _write(folder: Path, report: dict[str, Any], target: Path) -> str | None:
    """Write the winner; return its file, None if the gate refused it.

    Raises:
        ConfigError: ``target`` holds something else.
    """
    if not report["accepted"]:
        return None
    winner = folder / report["candidate"]
    if target.suffix == ".json":
        if not target.exists():
            save_state(winner, target, structured=report["structured"])
        return str(target)
    content = winner.read_bytes()
    if target.exists() and target.read_bytes() != content:
        raise ConfigError(EXISTS.format(target))
    write_atomic(target, content)
    return str(target)
