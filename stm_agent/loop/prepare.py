"""Open everything a run needs: data behind the firewall, the cut dev set, caches, clients and the executor."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stm_agent.clock import RunClock
from stm_agent.domain.beir import SYNTHETIC_NOTE
from stm_agent.domain.build import build_collection, build_domain_data
from stm_agent.domain.data import DomainData
from stm_agent.domain.firewall import Firewall
from stm_agent.domain.held import HeldQueries
from stm_agent.domain.spec import WRITTEN, DomainSpec
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.execute.inline import Executor
from stm_agent.execute.store import JobStore
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.options import LlmOptions
from stm_agent.loop.auditing import judge_access
from stm_agent.loop.context import RunContext
from stm_agent.loop.dev_power import fewest_tried, gate_of, gate_power
from stm_agent.loop.events import Observer
from stm_agent.loop.executing import open_executor
from stm_agent.loop.forgetting import held_guards
from stm_agent.loop.options import Options
from stm_agent.loop.runs import RunFolder, run_state_of
from stm_agent.loop.starting import with_starts
from stm_agent.loop.stopping import StopSignal

STAGES, CACHE = ".stages", ".cache"
"""Folders of ``runs/`` that all runs share."""


@contextmanager
def open_context(
    spec: DomainSpec, options: Options, run: RunFolder, *, workspace: Path, runs: Path, observer: Observer
) -> Iterator[RunContext]:
    """Open a run's context; inside the block signals ask for a stop and the clock is stored.

    ``spec`` is the domain as its file has it; the context's has the starts that the user named.
    """
    stop = StopSignal(run.folder)
    clock = RunClock(run.clock)

    def warn(text: str) -> None:
        context.warn("stages", text)

    opening = open_executor(spec.execution, options.executor, options.artefacts, runs / STAGES, warn)
    with clock, stop.handling_signals(), opening as executor:
        context = _context(spec, options, run, stop, clock, executor, workspace=workspace, runs=runs, observer=observer)
        with context.memory:
            yield context


def _context(
    spec: DomainSpec,
    options: Options,
    run: RunFolder,
    stop: StopSignal,
    clock: RunClock,
    executor: Executor,
    *,
    workspace: Path,
    runs: Path,
    observer: Observer,
) -> RunContext:
    own, spec = spec.backbone, with_starts(spec, options.starts)
    generator, reflection = (
        llm_access(options.llm(spec, model), options, run, runs)
        for model in (options.generator, options.reflection or options.generator)
    )
    _check_llms(spec, generator, reflection, plans=options.policy == "planner")
    JobStore(runs / STAGES).clean()
    observer({"kind": "stage", "name": "prepare", "text": f"building the collections of domain {spec.name}"})
    data, guards, held = load_domain_data(spec, workspace)
    finished_before = run_state_of(run.report) == "finished"
    data, firewall = hold_out_test(data, run.folder / "firewall.jsonl")
    context = RunContext(
        spec=spec,
        seed=options.seed_of(spec),
        run=run,
        executor=executor,
        cache=runs / CACHE / "vectors",
        observer=observer,
        clock=clock,
        stop=stop,
        minutes=options.budget_minutes,
        data=data,
        guards=guards,
        held_guards=held,
        firewall=firewall,
        own_backbone=own,
        finished_before=finished_before,
        gate=gate_of(firewall.dev, spec, options, data.collection.same_text),
        generator=generator,
        reflection=reflection,
        workspace=workspace,
    )
    if run.had_stop_request:
        context.note("stop", "a request to stop from before this process was removed; the run begins")
    _record_splits(context, options)
    return context


def _record_splits(context: RunContext, options: Options) -> None:
    """Record how the queries were split, and what the dev set can show; nothing is encoded yet."""
    context.run.ledger.record("splits", **context.data.splits.to_json())
    # They were shown when the splits were cut.
    context.notes += [f"splits: {note}" for note in context.data.splits.notes]
    if context.firewall.synthetic:
        # It was shown when the collection was read.
        text = f"the queries of {' and '.join(context.firewall.synthetic)} are synthetic: {SYNTHETIC_NOTE}"
        context.warnings.append(f"collection: {text}")
        context.run.ledger.record("warning", name="collection", text=text)
    halves = context.gate.halves
    power = gate_power(context.gate, fewest_tried(context.spec, options, context.workspace))
    # A small dev set can confirm large gains only, or none.
    warns = halves.small or not power.confirms
    (context.warn if warns else context.note)("gate", f"{halves.note}; {power.line}")


def _check_llms(spec: DomainSpec, generator: LlmAccess, reflection: LlmAccess, *, plans: bool) -> None:
    """Refuse an LLM that cannot be used before anything is spent, so that a wrong flag costs no lever hours later.

    Raises:
        ConfigError: LiteLLM does not know a model, or a dollar ceiling meets one without a known price.
    """
    writes = spec.planned or any(expert.negatives.synthetic or WRITTEN in expert.sources for expert in spec.experts)
    reflects = bool(spec.instruct.pool or spec.instruct.reflections or plans)
    for access, asked in ((generator, writes), (reflection, reflects)):
        if asked:
            access.open().close()
    judges = [judge_access(spec.audit, generator)]
    if spec.grading_teacher:
        judges.append(generator.as_judge(spec.grading_teacher))
    for judge in judges:
        if judge is not None:
            judge.open().close()


def llm_access(llm: LlmOptions, options: Options, run: RunFolder, runs: Path) -> LlmAccess:
    """Return the way to one LLM of a run, within the ceilings of its flags."""
    return LlmAccess(
        options=llm,
        cache=runs / CACHE / "llm",
        ledger=run.llm_ledger,
        clock=run.clock,
        usd=options.budget_usd,
        minutes=options.budget_minutes,
        calls=options.budget_calls,
    )


def hold_out_test(data: DomainData, ledger: Path) -> tuple[DomainData, Firewall]:
    """Take the test split out of the data; after this, only the firewall can open it."""
    collection = data.collection
    firewall = Firewall(collection, ledger)
    visible = {name: split for name, split in collection.splits.items() if name != "test"}
    # What an LLM writes must not resemble test either; the index shows no query.
    held = HeldQueries.of(collection)
    return dataclasses.replace(data, collection=dataclasses.replace(collection, splits=visible), held=held), firewall


def load_domain_data(
    spec: DomainSpec, workspace: Path
) -> tuple[DomainData, tuple[ScoredTask, ...], tuple[ScoredTask, ...]]:
    """Build the domain's data and its guard tasks: those that levers are scored on, and those of the report."""
    data = build_domain_data(spec.collection, workspace)
    collections = [build_collection(guard, workspace) for guard in spec.general]
    guards = tuple(
        ScoredTask(f"general {number}", collection.texts, collection.splits["dev"])
        for number, collection in enumerate(collections, 1)
    )
    return data, guards, held_guards(collections)
