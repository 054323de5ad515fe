"""Merge the experts of a side, and let the gate consider the best of the merge and the experts."""

from __future__ import annotations

from typing import ClassVar, Literal

from stm_agent.loop.actions.action import LeverAction, Prior
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.instructing import improve_instruction
from stm_agent.loop.merging import consider_models, merge_experts
from stm_agent.loop.query_side import merge_start, query_experts, with_incumbent
from stm_agent.loop.state import Expert, RatedModel, State
from stm_agent.merge.search import encoded_methods
from stm_agent.merge.verifying import VERIFIED_OF_ONE

BUILT = 0.5
"""Seconds to build a merge that is encoded."""

ESTIMATED = 2.0
"""Seconds for each expert that the surrogate takes to estimate hundreds of merges."""


class MergeExperts(LeverAction):
    """Searches how to merge experts, or one with its start; if that fails, the best single expert is still considered.

    Attributes:
        side: ``both``: all experts of both sides; ``query``: the experts of queries of this round.
        instruct: Also search the instruction of the merge.
        strict: The gate takes nothing that looks worse than the incumbent.
    """

    prior: ClassVar[Prior] = Prior(gain=0.01, spread=0.01)
    kind: Literal["merge"] = "merge"
    side: Literal["both", "query"] = "both"
    instruct: bool = False
    strict: bool = False

    @property
    def summary(self) -> str:
        """One line for people."""
        return "merge the experts of queries" if self.side == "query" else "merge the experts"

    def experts(self, state: State) -> list[Expert]:
        """Return what is merged."""
        if self.side == "query":
            return query_experts(state)
        return [expert for expert in state.experts_here() if expert.side == "both"]

    def depends(self, state: State) -> object:
        """Return the experts and the instruction."""
        return [[expert.folder.name for expert in self.experts(state)], state.provisional.instruction.texts]

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the merges that are encoded; those that the surrogate estimates cost a fixed time together."""
        merge, experts = work.spec.merge, len(self.experts(state))
        # Other methods than sums need two experts.
        encoded = merge.verify * (1 + (len(encoded_methods(merge.methods)) if experts > 1 else 0))
        if experts == 1 and self.side == "both":
            # Experts of queries are merged with the incumbent beside them.
            encoded = VERIFIED_OF_ONE
        queries = (work.queries + work.guard_queries) * work.rates.query
        scored = queries if self.side == "query" else work.scoring.seconds
        return Cost(seconds=encoded * (scored + BUILT) + experts * ESTIMATED)

    def needed(self, context: RunContext, state: State) -> float:
        """Return what the end takes more if passages get new vectors."""
        return 0.0 if self.side == "query" else context.spared

    def run(self, context: RunContext, state: State) -> State:
        """Return the state with the search, and with the best model if the gate takes it."""
        experts = self.experts(state)
        if not experts:
            if self.side == "both" and any(spec.side == "both" for spec in context.spec.experts):
                context.warn("merge", "no merge: no expert was trained")
            return state
        lever = "merge" if self.side == "both" else "merge of the query side"
        beneath = merge_start(experts) if self.side == "query" else None
        merged: RatedModel | None = None
        # A single expert has weights too: between it and the start lies what learns most and forgets little enough.
        if context.has_time(lever, self.needed(context, state)):
            with context.attempt(lever):
                members = with_incumbent(context, experts) if self.side == "query" else experts
                state, merged = merge_experts(context, state, members, self.round, beneath=beneath)
        state = consider_models(context, state, experts, merged, self.round, strict=self.strict)
        if merged is not None and self.instruct and context.has_time("instruction of the merge"):
            with context.attempt("instruction of the merge"):
                return improve_instruction(context, state, self.round, what="merge")
        return state
