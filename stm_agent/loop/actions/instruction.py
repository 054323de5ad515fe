"""Search the text in front of a query."""

from __future__ import annotations

from typing import ClassVar, Literal

from stm_agent.loop.actions.action import LeverAction, Prior
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.instructing import improve_instruction
from stm_agent.loop.state import State


class SearchInstruction(LeverAction):
    """Searches an instruction for the provisional model.

    Attributes:
        what: How the provisional model is called in the record.
    """

    prior: ClassVar[Prior] = Prior(gain=0.004, spread=0.01)
    lever: ClassVar[str] = "{action.searched}"
    kind: Literal["search-instruction"] = "search-instruction"
    what: Literal["incumbent", "merge"] = "incumbent"

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"search the instruction of the {self.what}"

    @property
    def searched(self) -> str:
        """What is searched, as the record calls it."""
        return "instruction" if self.what == "incumbent" else f"instruction of the {self.what}"

    def depends(self, state: State) -> object:
        """Return the model; its instruction is what is searched."""
        return state.provisional.model.source_key()

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count encodings of queries for each candidate, of the corpus for a look, and calls of the reflecting LLM."""
        spec, rates = work.spec.instruct, work.rates
        calls = spec.pool + spec.reflections
        queries = (work.instructions + calls + spec.finalists) * work.queries
        passages = work.framings * work.searched + work.unsearched
        return Cost(seconds=queries * rates.query + passages * rates.passage) + work.calls(calls)

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the instruction, if it is accepted."""
        return improve_instruction(context, state, self.round, what=self.what)
