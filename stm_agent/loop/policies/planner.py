"""An LLM that sees the state and the menu with prices, and overrides another policy in a share of the decisions."""

from __future__ import annotations

import random
from collections import Counter

from stm_agent.errors import StmAgentError
from stm_agent.loop.context import RunContext
from stm_agent.loop.failures import NEVER_CAUGHT
from stm_agent.loop.history import Decision
from stm_agent.loop.policies.answers import SILENT, STOP, UNAFFORDABLE, Fallback, answer_of, chosen, menu_text
from stm_agent.loop.policies.policy import Policy, Situation
from stm_agent.loop.state_summary import summary, summary_text
from stm_agent.workspace import program_path

PROGRAM = "planner"

FALLBACK = "fallback"
"""Event of the ledger: an answer of the planner that could not be used."""


class Planner:
    """Asks the program ``planner`` in a share of the decisions; the measured policy decides the others."""

    def __init__(self, measured: Policy, share: float, seed: int) -> None:
        """Take what decides otherwise.

        Args:
            measured: Decides if the planner is not asked, or its answer cannot be used.
            share: Share of the decisions in which it is asked.
            seed: Seed of the draw of these decisions.
        """
        self.measured, self.share, self.seed = measured, share, seed

    def choose(self, situation: Situation) -> Decision | None:
        """Return the planner's choice, or that of the measured policy."""
        number = len(situation.steps)
        if random.Random(f"planner {self.seed} {number}").random() >= self.share:
            return self.measured.choose(situation)
        try:
            offer = chosen(ask(situation), situation.menu, situation.left)
            if offer not in (*situation.affordable, STOP):
                raise Fallback(UNAFFORDABLE)
        except NEVER_CAUGHT:
            raise
        except (Fallback, StmAgentError) as error:
            fault = str(error) if isinstance(error, Fallback) else SILENT
            detail = f" ({error})" if isinstance(error, StmAgentError) else ""
            _record_fallback(situation.context, number + 1, fault, detail)
            return self.measured.choose(situation)
        return Decision(
            action=offer.action,
            reason=f"the planner's choice from {len(situation.menu)} actions",
            by="planner",
            seconds=offer.cost.seconds,
            dollars=offer.cost.dollars,
        )


def _record_fallback(context: RunContext, number: int, fault: str, detail: str) -> None:
    context.run.ledger.record(FALLBACK, number=number, fault=fault)
    faults = Counter(entry["fault"] for entry in context.run.ledger.entries(FALLBACK))
    counts = ", ".join(f"{times} {fault}" for fault, times in sorted(faults.items()))
    context.warn(PROGRAM, f"decision {number}: {fault}{detail}; gain-per-cost decides; so far {counts}")


def restore_warnings(context: RunContext) -> None:
    """Add the warnings of answers to an earlier process of the run, whose decisions are repeated without an LLM."""
    warnings = context.run.ledger.entries("warning")
    context.warnings += [f"{PROGRAM}: {entry['text']}" for entry in warnings if entry["name"] == PROGRAM]


def ask(situation: Situation) -> str:
    """Return the planner's answer as it wrote it.

    Raises:
        StmAgentError: The program cannot be used, the LLM gives no usable answer, or the budget is spent.
    """
    from stm_agent.synthesize.load import load_program

    context = situation.context
    path = program_path(context.workspace, PROGRAM)
    program = load_program(path, "action")
    inputs = {"state": state_text(situation), "menu": menu_text((*situation.menu, STOP))}
    client = context.reflection.open()
    try:
        with context.clock.working():
            return answer_of(program, path, client, inputs, sample=len(situation.steps))
    finally:
        client.close()


def state_text(situation: Situation) -> str:
    """Return the state as a planner reads it."""
    return summary_text(summary(situation.context, situation.state, situation.steps, situation.left))
