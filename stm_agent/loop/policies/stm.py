"""The published order (Synthesize-Train-Merge, arXiv 2602.04731): every lever once a round, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stm_agent.domain.spec import DomainSpec
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.data import PrepareData
from stm_agent.loop.actions.instruction import SearchInstruction
from stm_agent.loop.actions.merge import MergeExperts
from stm_agent.loop.actions.query_map import TrainQueryMap
from stm_agent.loop.actions.training import TrainExpert, TrainQueryExpert
from stm_agent.loop.context import RunContext
from stm_agent.loop.history import Decision
from stm_agent.loop.policies.policy import Situation


class FixedOrder:
    """Instruction, data, experts, merge, experts of queries, their merge, then a query map; the same every round."""

    def __init__(self, rounds: int) -> None:
        """Take the number of rounds."""
        self.rounds = rounds

    def choose(self, situation: Situation) -> Decision | None:
        """Return the next action of the order."""
        order = list(published_order(situation.context.spec, self.rounds))
        number = len(situation.steps)
        if number == len(order):
            return None
        action = order[number]
        return Decision(action=action, reason=f"round {action.round} of {self.rounds} in the published order", by="stm")

    def following(self, context: RunContext, number: int) -> Sequence[Action]:
        """Return the actions after a step."""
        return list(published_order(context.spec, self.rounds))[number:]


def published_order(spec: DomainSpec, rounds: int) -> Iterator[Action]:
    """Yield the actions of all rounds."""
    both = [expert.name for expert in spec.experts if expert.side == "both"]
    queries = [expert.name for expert in spec.experts if expert.side == "query"]
    for round_ in range(1, rounds + 1):
        yield SearchInstruction(round=round_)
        yield PrepareData(round=round_)
        yield from (TrainExpert(expert=name, round=round_) for name in both)
        yield MergeExperts(instruct=spec.merge.instructions, round=round_)
        yield from (TrainQueryExpert(expert=name, round=round_) for name in queries)
        if queries:
            yield MergeExperts(side="query", round=round_)
        if spec.maps_queries:
            yield TrainQueryMap(round=round_)
