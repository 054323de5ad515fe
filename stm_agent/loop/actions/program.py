"""Optimise a program: a better text for what writes training data."""

from __future__ import annotations

from typing import ClassVar, Literal

from stm_agent.loop.actions.action import LeverAction, Prior
from stm_agent.loop.actions.data import can_write
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.program_gepa import MINIBATCH
from stm_agent.loop.program_lever import (
    DOCUMENTS,
    FINALISTS,
    LORA_STEPS,
    PROBE_STEPS,
    PROBES,
    SIZES,
    Role,
    improve_program,
    programs_key,
)
from stm_agent.loop.state import State
from stm_agent.loop.useful_training import STEP_COST


class OptimizeProgram(LeverAction):
    """Searches a better text for a program; what is written later comes from the winner.

    Attributes:
        program: What the program writes.
    """

    prior: ClassVar[Prior] = Prior(gain=0.003, spread=0.01)
    only_data: ClassVar[bool] = True
    pays_later: ClassVar[bool] = True
    lever: ClassVar[str] = "program {action.program}"
    kind: Literal["optimize-program"] = "optimize-program"
    program: Role = "queries"

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"optimise the program that writes {self.program}"

    def depends(self, state: State) -> object:
        """Return the newest winner of an earlier search."""
        return programs_key(state.programs, self.program)

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the calls of candidates and reflections, and the steps and scores of probes and LoRA runs."""
        proposals = work.spec.synthesize.proposals
        each = 3 if self.program == "graded" else 1
        calls = each * ((proposals + 1) * (SIZES.examples + MINIBATCH) + (PROBES + 1) * SIZES.held) + proposals
        batch, rates = work.spec.train.batch_size, work.rates
        # Of written passages, each pair has one as a negative.
        texts = rates.query + rates.passage if self.program == "queries" else 2 * rates.passage
        steps = STEP_COST * batch * texts * ((PROBES + 1) * PROBE_STEPS + (FINALISTS + 1) * LORA_STEPS)
        scores = (PROBES + FINALISTS + 2) * min(DOCUMENTS, work.documents) * rates.passage
        return Cost(seconds=steps + scores) + work.calls(calls)

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state in which the winner writes, if there is one."""
        return improve_program(context, state, self.program)


def improvable(context: RunContext) -> list[Role]:
    """Return what the programs write that a run uses, if the domain lets runs optimise them."""
    spec = context.spec
    if not spec.synthesize.proposals:
        return []
    asked: dict[Role, bool] = {
        "queries": can_write(context),
        "negatives": any(expert.negatives.synthetic for expert in spec.experts),
        "graded": bool(spec.synthesize.graded) and any(expert.related for expert in spec.experts),
    }
    return [role for role, used in asked.items() if used]
