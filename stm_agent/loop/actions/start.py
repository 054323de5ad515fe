"""Race another start, and train an expert on one that was raced."""

from __future__ import annotations

from typing import ClassVar, Literal

from stm_agent.domain.fields import Name
from stm_agent.loop.actions.action import LeverAction, Prior
from stm_agent.loop.actions.training import Rung, data_key, expert_of, with_trained
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.experts import train_expert
from stm_agent.loop.other_starts import domain_of, on_start, race_start
from stm_agent.loop.state import State


class RaceStart(LeverAction):
    """Scores a start that lost the race of the plan on the whole search half; experts can then be trained on it.

    Attributes:
        model: Name of the start.
    """

    prior: ClassVar[Prior] = Prior(gain=0.0, spread=0.03)
    pays_later: ClassVar[bool] = True
    lever: ClassVar[str] = "start {action.model}"
    kind: Literal["race-start"] = "race-start"
    model: str

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"race another start, {self.model}"

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the scores, at the speed that the start had in the race of the plan."""
        return work.on(self.model).scoring

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the start as a candidate, and as the provisional model if the gate takes it."""
        return race_start(context, state, self.model, self.round)


class TrainOnStart(LeverAction):
    """Trains an expert of both sides on a start that was raced, instead of that of the incumbent.

    Attributes:
        model: Name of the start.
        expert: Its name in the domain.
        rung: How long it is trained.
    """

    prior: ClassVar[Prior] = Prior(gain=0.0, spread=0.03)
    lever: ClassVar[str] = "expert {action.expert} on start {action.model}"
    kind: Literal["train-on-start"] = "train-on-start"
    model: str
    expert: Name
    rung: Rung = "whole"

    @property
    def summary(self) -> str:
        """One line for people."""
        short = "" if self.rung == "whole" else " for a quarter of its steps"
        return f"train expert {self.expert} on start {self.model}{short}"

    def depends(self, state: State) -> object:
        """Return the accepted instruction and data."""
        return [state.accepted.texts if state.accepted else None, data_key(state)]

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the steps and the scores, at the speed that the start had in the race of the plan."""
        return work.on(self.model).training(expert_of(work.spec, self.expert, self.rung))

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the expert, which the gate considers."""
        beneath = on_start(state, self.model)
        spec = expert_of(domain_of(context, beneath), self.expert, self.rung)
        trained = train_expert(context, beneath, spec, self.round, None)
        return with_trained(context, state, trained, self.round)
