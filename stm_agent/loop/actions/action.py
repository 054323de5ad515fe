"""The one interface of all actions, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pydantic import Field

from stm_agent.domain.fields import Positive, Spec
from stm_agent.evaluate.metrics import Scores
from stm_agent.files import content_hash
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.state import State


class Action(Protocol):
    """A lever tried once. Its parameters are typed and frozen, and survive JSON."""

    prior: ClassVar[Prior]
    only_data: ClassVar[bool]
    pays_later: ClassVar[bool]

    @property
    def kind(self) -> str:
        """Name of the kind of action, as the ledger and a planner write it."""

    @property
    def round(self) -> int:
        """Number of the round it belongs to."""

    @property
    def summary(self) -> str:
        """One line for people."""

    def key(self, state: State) -> str:
        """Return the hash of kind, parameters, and the part of the state that decides the result."""

    def estimate(self, work: Workload, state: State) -> Cost:
        """Return what it will cost, about."""

    def needed(self, context: RunContext, state: State) -> float:
        """Return the seconds without which it is not begun; 0: any are enough."""

    def run(self, context: RunContext, state: State) -> State:
        """Return the state after it; a failure inside of it is recorded by ``context.attempt``."""

    def to_json(self) -> dict[str, object]:
        """Return kind and parameters."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What an action of a kind is worth before any was tried.

    Attributes:
        gain: nDCG@10 on the search half.
        spread: Standard deviation of that.
    """

    gain: float
    spread: float


class LeverAction(Spec):
    """Base of the actions: parameters as fields, and a key.

    Attributes:
        only_data: It changes training data alone.
        pays_later: It gains nothing, or little, before an expert is trained.
        lever: What the record calls it if it fails, or if no time is left for it; ``{action.expert}`` is a parameter.
        round: Number of the round; names what comes of the action, and decides nothing else.
    """

    only_data: ClassVar[bool] = False
    pays_later: ClassVar[bool] = False
    lever: ClassVar[str] = ""
    round: Positive = Field(default=1)

    def run(self, context: RunContext, state: State) -> State:
        """Return the state after it; the state as it is if it fails, which is recorded, or if no time is left."""
        lever = self.lever.format(action=self)
        if context.has_time(lever, self.needed(context, state)):
            with context.attempt(lever):
                return self.apply(context, state)
        return state

    def needed(self, context: RunContext, state: State) -> float:
        """Return the seconds without which it is not begun; 0: any are enough.

        A new model of passages is encoded whole at the end, so that nothing is spared there any more.
        """
        return context.spared

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state after it; a failure is :meth:`run`'s to record."""
        raise NotImplementedError

    def key(self, state: State) -> str:
        """Return the hash of kind, parameters, and the part of the state that decides the result."""
        return content_hash([self.model_dump(mode="json", exclude={"round"}), self.depends(state)])

    def depends(self, state: State) -> object:
        """Return the part of the state that decides the result, as JSON values."""
        return None

    def to_json(self) -> dict[str, object]:
        """Return kind and parameters."""
        return self.model_dump(mode="json")

    def parameters(self) -> Mapping[str, object]:
        """Return the parameters that differ between the actions of one kind on a menu."""
        return self.model_dump(mode="json", exclude={"kind", "round"})


def model_key(state: State) -> list[object]:
    """Return what identifies the provisional model with its instruction."""
    provisional = state.provisional
    return [provisional.model.source_key(), *provisional.instruction.texts]


def best_of(state: State, floor: float) -> Scores:
    """Return the scores on the search half of the best that a run has: the provisional model, or an expert.

    Args:
        state: The state.
        floor: Least mean nDCG@10 on the guards.
    """
    experts = [expert.rated.rating for expert in state.experts if expert.rated.rating.general >= floor]
    ratings = (state.provisional.rating, *experts)
    return max((rating.domain for rating in ratings), key=lambda scores: scores.ndcg_at_10)
