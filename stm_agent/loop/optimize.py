"""One run of the closed loop: instruction, data, experts, merge, confirmation, and then test, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import StopRequested
from stm_agent.files import read_json
from stm_agent.loop.confirming import confirm
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import prepare_training_data
from stm_agent.loop.data_jobs import Miner, first_miner
from stm_agent.loop.events import Observer, silent
from stm_agent.loop.experts import train_all
from stm_agent.loop.final import finish, finish_early
from stm_agent.loop.identity import run_identity
from stm_agent.loop.instructing import improve_instruction
from stm_agent.loop.merging import consider_models, merge_experts
from stm_agent.loop.options import Options
from stm_agent.loop.planning import settle_plan
from stm_agent.loop.prepare import open_context
from stm_agent.loop.query_side import improve_query_side
from stm_agent.loop.report import Report
from stm_agent.loop.runs import RunFolder, open_run, run_state_of
from stm_agent.loop.starting import with_starts
from stm_agent.loop.state import RatedModel, State
from stm_agent.progress import watched_by


def optimize(
    spec: DomainSpec,
    options: Options,
    *,
    workspace: Path,
    runs: Path,
    observer: Observer = silent,
    before_work: Callable[[], None] = lambda: None,
) -> Report:
    """Run the loop to its report; an interrupted run resumes where it stopped.

    A lever that fails costs that lever; the run continues with the others and exports the best model it has.

    Args:
        spec: The domain.
        options: The user's flags.
        workspace: Folder with ``programs/`` and ``prompts/``.
        runs: Folder that holds run folders, stages and caches.
        observer: Receives events.
        before_work: Called unless the run is finished already, for what costs time, such as setting threads.

    Returns:
        The report, as stored in ``runs/<id>/report.json``.

    Raises:
        StopRequested: A stop was asked for; the best model so far is exported.
        StmAgentError: A fault that the user can correct; the run folder stays intact.
    """
    rounds = options.rounds_of(spec)
    identity = run_identity(with_starts(spec, options.starts), options, workspace)
    run = open_run(runs, spec.name, identity, run_id=options.run_id, fresh=options.fresh)
    try:
        finished = _finished(run, options)
        if finished is not None:
            observer({"kind": "note", "name": "run", "text": f"run {run.id} is finished; this is its report"})
            return finished
        before_work()
        with open_context(spec, options, run, workspace=workspace, runs=runs, observer=observer) as context:
            return _walk(context, rounds, controls=options.controls)
    finally:
        run.close()


def _finished(run: RunFolder, options: Options) -> Report | None:
    """Return the report of a finished run, unless its budget ended a lever and the budget is higher now."""
    if run_state_of(run.report) != "finished":
        return None
    report: Report = read_json(run.report)
    lost_to_budget = any(failure["kind"] == "budget" for failure in report["failures"])
    raised = _is_raised(options.budget_usd, report["budget"]["usd"]) or _is_raised(
        options.budget_minutes, report["budget"]["minutes"]
    )
    return None if lost_to_budget and raised else report


def _is_raised(now: float | None, before: float | None) -> bool:
    return before is not None and (now is None or now > before)


def _walk(context: RunContext, rounds: int, *, controls: bool) -> Report:
    state: State | None = None
    try:
        with watched_by(context):
            with context.timed("plan", "planning the run"):
                context.plan = settle_plan(context)
            state = _start(context)
            for round_ in range(1, rounds + 1):
                if not context.has_time(f"round {round_}"):
                    break
                context.run.ledger.record("round", number=round_)
                # Each step returns a new state, so a stop inside a step leaves the state before it.
                for step in (_improve_instruction, _train_experts, _merge, improve_query_side):
                    state = step(context, state, round_)
            state = confirm(context, state)
            return finish(context, state, controls=controls)
    except StopRequested as stop:
        if state is None:
            raise
        # Outside of the watcher, so that the same request does not stop the export.
        finish_early(context, state, str(stop))
        which = "the model of the finished run stays" if context.finished_before else "the best model so far is"
        raise StopRequested(f"{stop}; {which} in {context.run.model}, the same command resumes") from stop


def _start(context: RunContext) -> State:
    """Rate the untouched backbone without instruction."""
    with context.timed("rate", "scoring the untouched backbone on dev"):
        with context.clock.working():
            none = Instruction.none(context.backbone.open().model.prompts)
        base = RatedModel(
            label="backbone",
            model=context.backbone,
            instruction=none,
            rating=context.rate(context.backbone, none),
        )
    context.run.ledger.record("base", search=base.rating.domain.ndcg_at_10, general=base.rating.general)
    return State.start(base)


def _improve_instruction(context: RunContext, state: State, round_: int) -> State:
    if context.has_time("instruction"):
        with context.attempt("instruction"):
            return improve_instruction(context, state, round_, what="incumbent")
    return state


def _train_experts(context: RunContext, state: State, round_: int) -> State:
    training_data = prepare_training_data(context, _miner(context, state))
    trained = train_all(context, training_data, state.provisional.instruction, round_)
    return replace(
        state,
        experts=(*state.experts, *trained.experts),
        considered=state.considered + trained.compared,
        training_data=training_data,
    )


def _merge(context: RunContext, state: State, round_: int) -> State:
    """Merge the experts; if that fails, the best single expert is still a candidate."""
    experts = [expert for expert in state.experts if expert.side == "both"]
    if not experts:
        if any(spec.side == "both" for spec in context.spec.experts):
            context.warn("merge", "no merge: no expert was trained")
        return state
    merged: RatedModel | None = None
    if len(experts) > 1 and context.has_time("merge"):
        with context.attempt("merge"):
            state, merged = merge_experts(context, state, experts, round_)
    state = consider_models(context, state, experts, merged, round_)
    if merged is not None and context.spec.merge.instructions and context.has_time("instruction of the merge"):
        with context.attempt("instruction of the merge"):
            return improve_instruction(context, state, round_, what="merge")
    return state


def _miner(context: RunContext, state: State) -> Miner:
    """Return what mines: at first the domain's choice, later the provisional model if it was trained."""
    if state.provisional.model != state.base.model:
        return state.provisional.model, state.provisional.instruction
    return first_miner(context.spec)
