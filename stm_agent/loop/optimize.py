"""One run of the closed loop: a search by actions, confirmation, and then test, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import StmAgentError, StopRequested
from stm_agent.files import append_jsonl, read_json
from stm_agent.loop.confirming import confirm
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import require_minutes, workload_of
from stm_agent.loop.deciding import Search
from stm_agent.loop.events import Observer, silent
from stm_agent.loop.failures import BUDGET
from stm_agent.loop.final import finish, finish_early
from stm_agent.loop.identity import run_identity
from stm_agent.loop.options import Options
from stm_agent.loop.planning import settle_plan
from stm_agent.loop.policies.choice import policy_of
from stm_agent.loop.prepare import open_context
from stm_agent.loop.report_rows import Report
from stm_agent.loop.runs import RunFolder, open_run, run_state_of
from stm_agent.loop.starting import warn_if_unread, with_starts
from stm_agent.loop.state import START, RatedModel, State
from stm_agent.progress import watched_by


def optimize(
    spec: DomainSpec,
    options: Options,
    *,
    workspace: Path,
    runs: Path,
    observer: Observer = silent,
    before_work: Callable[[], None] = lambda: None,
    after_work: Callable[[Path], None] = lambda folder: None,
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
        after_work: Called with the run's folder, no longer locked, after a report or a known error.

    Returns:
        The report, as stored in ``runs/<id>/report.json``.

    Raises:
        StopRequested: A stop was asked for; the best model so far is exported.
        StmAgentError: A fault that the user can correct; the run folder stays intact.
    """
    rounds, options = options.rounds_of(spec), options.with_ceiling(planned=spec.planned)
    spec = options.with_structured(spec)
    identity = run_identity(with_starts(spec, options.starts), options, workspace)
    run = open_run(runs, spec.name, identity, run_id=options.run_id, fresh=options.fresh)
    with _closing(run, after_work):
        finished = _finished(run, options)
        if finished is not None:
            observer({"kind": "note", "name": "run", "text": f"run {run.id} is finished; this is its report"})
            return finished
        if options.command:
            append_jsonl(run.commands, {"schema": 1, "command": list(options.command)})
        before_work()
        with open_context(spec, options, run, workspace=workspace, runs=runs, observer=observer) as context:
            return _walk(context, options, rounds)


@contextmanager
def _closing(run: RunFolder, after_work: Callable[[Path], None]) -> Iterator[None]:
    """Release the run after the block, and then call ``after_work``, but not if a second Ctrl-C ends the process."""
    try:
        yield
    except BaseException as error:
        run.close()
        if isinstance(error, StmAgentError) and run.folder.is_dir():
            after_work(run.folder)
        raise
    run.close()
    after_work(run.folder)


def _finished(run: RunFolder, options: Options) -> Report | None:
    """Return the report of a finished run, unless its budget ended a lever and the budget is higher now."""
    if run_state_of(run.report) != "finished":
        return None
    report: Report = read_json(run.report)
    lost_to_budget = any(failure["kind"] == BUDGET for failure in report["failures"])
    raised = _is_raised(options.budget_usd, report["budget"]["usd"]) or _is_raised(
        options.budget_minutes, report["budget"]["minutes"]
    )
    raised = raised or _is_raised(options.budget_calls, report["budget"].get("calls"))
    return None if lost_to_budget and raised else report


def _is_raised(now: float | None, before: float | None) -> bool:
    return before is not None and (now is None or now > before)


def _walk(context: RunContext, options: Options, rounds: int) -> Report:
    search: Search | None = None
    try:
        with watched_by(context):
            with context.timed("plan", "planning the run"):
                context.plan = settle_plan(context)
            policy, rules = policy_of(options, context, rounds)
            bound = None if options.policy == "stm" else options.rounds
            require_minutes(context, options)
            state = _start(context)
            if context.minutes is not None:
                context.ending = workload_of(context).ending.seconds
            search = Search(context, state, policy, rules, rounds=bound)
            search.run()
            search.state = confirm(context, search.state)
            return finish(context, search.state, controls=options.controls)
    except StopRequested as stop:
        if search is None:
            raise
        # Outside of the watcher, so that the same request does not stop the export.
        finish_early(context, search.state, str(stop))
        which = "the model of the finished run stays" if context.finished_before else "the best model so far is"
        raise StopRequested(f"{stop}; {which} in {context.run.model}, the same command resumes") from stop


def _start(context: RunContext) -> State:
    """Rate the untouched backbone without instruction."""
    with context.timed("rate", "scoring the untouched backbone on dev"):
        with context.clock.working():
            encoder = context.backbone.open()
            none = Instruction.none(encoder.model.prompts)
            warn_if_unread(context, encoder)
        base = RatedModel(
            label=START,
            model=context.backbone,
            instruction=none,
            rating=context.rate(context.backbone, none),
        )
    context.run.ledger.record("base", search=base.rating.domain.ndcg_at_10, general=base.rating.general)
    return State.start(base)
