"""Try a linear map on query vectors."""

from __future__ import annotations

from typing import ClassVar, Literal

from stm_agent.loop.actions.action import LeverAction, Prior
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload, workload_of
from stm_agent.loop.query_map import LEVER, MOST_PAIRS, try_query_map
from stm_agent.loop.state import State
from stm_agent.train.query_map import SECONDS


class TrainQueryMap(LeverAction):
    """Trains a map on query vectors for the provisional model, once for each model, instruction and set of pairs."""

    prior: ClassVar[Prior] = Prior(gain=0.005, spread=0.01)
    lever: ClassVar[str] = LEVER
    kind: Literal["train-query-map"] = "train-query-map"

    @property
    def summary(self) -> str:
        """One line for people."""
        return "train a map on query vectors on top of the incumbent"

    def depends(self, state: State) -> object:
        """Return the model without a map, its instruction, and the pairs."""
        provisional = state.provisional
        pairs = state.training_data.new_pairs if state.training_data else None
        return [provisional.model.unmapped.source_key(), provisional.instruction.texts, pairs]

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the steps, the queries, and passages of pairs that may have no vectors yet."""
        pairs = min(work.pairs, MOST_PAIRS)
        queries = pairs + work.queries + work.guard_queries
        passages = min(pairs, work.unsearched)
        return Cost(seconds=SECONDS + queries * work.rates.query + passages * work.rates.passage)

    def needed(self, context: RunContext, state: State) -> float:
        """Return its estimate, if there is a ceiling on the minutes."""
        return 0.0 if context.minutes is None else self.estimate(workload_of(context), state).seconds

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the map, if it is taken."""
        return try_query_map(context, state, self.round)
