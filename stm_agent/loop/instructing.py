"""The instruction lever: search the text in front of a query for the provisional model, and accept it by a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import InstructSpec
from stm_agent.errors import GenerationError
from stm_agent.files import read_jsonl
from stm_agent.instruct.job import TRACES, FoundInstruction, InstructionJob, read_found
from stm_agent.instruct.seeds import load_framings, load_seeds
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.context import RunContext
from stm_agent.loop.looks import INSTRUCTION, take_look
from stm_agent.loop.state import RatedModel, State
from stm_agent.traces import TraceStore, import_traces
from stm_agent.workspace import prompt_path


def improve_instruction(context: RunContext, state: State, round_: int, *, what: str) -> State:
    """Search an instruction for the provisional model; return the state with it if it is accepted.

    An instruction costs the user something at every query, so it needs evidence of its own: it must gain
    ``instruct.min_effect`` on the search half and pass a look at the accept half. It is accepted independently of the
    model (see :func:`with_accepted_instruction`). "No instruction" costs nothing: it wins a tie, without a look.
    """
    incumbent = state.provisional
    found, trial = _search(context, incumbent, round_, what)
    state = replace(state, considered=state.considered + found.tried)
    if found.winner.texts == incumbent.instruction.texts:
        text = f"round {round_}, {what}: {found.tried} instructions tried; nothing was better on the search half"
        context.decide("instruction", text, kept=False)
        return state
    challenger = replace(
        incumbent,
        label=f"{incumbent.label}, instruction {_shown(found.winner)}",
        instruction=found.winner,
        rating=context.rate(incumbent.model, found.winner),
    )
    accepted, reason, state = _accept(context, state, challenger, found)
    context.decide("instruction", f"round {round_}, {what}: {found.tried} instructions tried; {reason}", kept=accepted)
    if trial:
        TraceStore(context.run.traces).decide(trial, accepted=accepted, reason=reason)
    return state


def _accept(
    context: RunContext, state: State, challenger: RatedModel, found: FoundInstruction
) -> tuple[bool, str, State]:
    """Return whether an instruction is accepted, why, and the state after it."""
    shown = _shown(found.winner)
    better, reason = looks_better(context, challenger, state.provisional, tried=found.tried)
    if not better:
        return False, reason, state
    if any(found.winner.texts):
        look, state = take_look(context, state, challenger, state.provisional, what=INSTRUCTION)
        if not look.confirmed:
            return False, f"{shown} {look.reason}", state
        reason = f"{shown} {look.reason}"
    state = replace(state.taking(challenger), accepted=challenger.instruction)
    if state.confirmed.model == challenger.model:
        state = replace(state, confirmed=challenger)
    return True, reason, state


def looks_better(
    context: RunContext, challenger: RatedModel, incumbent: RatedModel, tried: int = 1
) -> tuple[bool, str]:
    """Return whether another instruction for one model is better on the search half, and why; costs no look.

    "No instruction" wins a tie; any other one must gain ``instruct.min_effect``.
    """
    new, old = (rated.rating.domain.per_query for rated in (challenger, incumbent))
    verdict = context.gate.consider(new, old, tried=tried, costly=True)
    shown = _shown(challenger.instruction)
    if not any(challenger.instruction.texts):
        return verdict.gain >= 0, f"{shown} costs nothing: {verdict.gain:+.4f} on the search half"
    least = context.spec.instruct.min_effect
    if verdict.gain < least:
        reason = f"{shown} not taken: {verdict.gain:+.4f} on the search half, an instruction must gain {least:g}"
        return False, reason
    return verdict.accepted, f"{shown} {verdict.reason}"


def with_accepted_instruction(context: RunContext, state: State) -> State:
    """Return the state in which the confirmed model has the accepted instruction, if that looks better with it.

    An instruction is accepted apart from the model, by a look of its own, but the look may have been at a model that
    was rolled back. Whether it helps the confirmed model too is then decided on the search half.
    """
    confirmed, accepted = state.confirmed, state.accepted
    if accepted is None or accepted.texts == confirmed.instruction.texts:
        return state
    # It may have been accepted on another start, whose own prompts say nothing here.
    shown, instruction = _shown(accepted), confirmed.instruction.with_texts_of(accepted)
    challenger = replace(
        confirmed,
        label=f"{confirmed.label}, instruction {shown}",
        instruction=instruction,
        rating=context.rate(confirmed.model, instruction),
    )
    better, reason = looks_better(context, challenger, confirmed)
    result = "stays, for" if better else "is given up with the model that it was accepted on, not for"
    context.decide("instruction", f"{shown} {result} {confirmed.label}: {reason}", kept=better)
    return replace(state, confirmed=challenger, provisional=challenger) if better else state


def _search(context: RunContext, incumbent: RatedModel, round_: int, what: str) -> tuple[FoundInstruction, str | None]:
    """Search on the search half, without the reflecting LLM if it gives out; return the winner and its trial."""
    spec = context.spec
    seeds, framings = written_candidates(context.workspace, spec.instruct, spec.task)

    def job(reflection: LlmAccess | None) -> InstructionJob:
        return InstructionJob(
            model=incumbent.model,
            search=context.search,
            seeds=tuple(seeds),
            framings=tuple(framings),
            incumbent=incumbent.instruction,
            reflection=reflection,
            spec=spec.instruct,
            seed=context.seed + round_,
            task=spec.task,
            cache=context.cache,
        )

    asks = bool(spec.instruct.pool or spec.instruct.reflections)
    text = f"trying {len(seeds)} seed instructions and {spec.instruct.reflections} reflections on the {what}"
    with context.timed("instruct", text):
        try:
            folder = context.build(job(context.reflection if asks else None))
        except GenerationError as error:
            # Answers that were paid for are still used; without any, the seeds alone.
            context.fail("instruction reflections", error)
            answered = len(read_jsonl(context.run.llm_ledger))
            folder = context.build(job(context.reflection.without_asking(answered) if answered else None))
    names = import_traces(context.run.traces, folder / TRACES)
    found = read_found(folder)
    if found.rejected:
        counts = ", ".join(f"{number} {reason}" for reason, number in sorted(found.rejected.items()))
        context.warn("instruct", f"answers of the reflecting LLM that were rejected: {counts}")
    return found, names.get(found.trial)


def written_candidates(
    workspace: Path, spec: InstructSpec, task: str
) -> tuple[Sequence[Instruction], Sequence[Instruction]]:
    """Return the query and the passage instructions that people wrote.

    Raises:
        ConfigError: A file of ``prompts/`` is missing or cannot be used.
    """
    seeds = load_seeds(prompt_path(workspace, spec.seeds), task=task)
    return seeds, load_framings(prompt_path(workspace, spec.passages)) if spec.passages else ()


def _shown(instruction: Instruction) -> str:
    framed = f" with passages '{instruction.passage}'" if instruction.passage else ""
    return f"'{instruction.query or 'none'}'{framed}"
