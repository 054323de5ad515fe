"""The one interface of all policies, and what a policy sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.menu import BEFORE_DATA, offered
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload, workload_of
from stm_agent.loop.history import Decision, Step, of_kind
from stm_agent.loop.state import State

TRUST = 1.0
"""Actions that the estimate of a kind weighs as, against those that were measured."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """What is left of the budget; infinite without a ceiling.

    Attributes:
        seconds: For actions; the end of the run has its own.
        dollars: For LLM calls.
        calls: Of LLMs.
    """

    seconds: float = math.inf
    dollars: float = math.inf
    calls: float = math.inf

    def allows(self, cost: Cost) -> bool:
        """Return whether an action can be afforded."""
        return cost.seconds <= self.seconds and cost.dollars <= self.dollars and cost.calls <= self.calls


@dataclass(frozen=True)
class Offer:
    """An action on the menu, with its price.

    Attributes:
        action: The action.
        cost: What it will cost, about.
    """

    action: Action
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a policy sees.

    Attributes:
        context: The run.
        state: Its state.
        steps: What was done so far.
        left: What is left of the budget.
        rounds: Rounds of training data, at most; None: no such bound.
    """

    context: RunContext
    state: State
    steps: tuple[Step, ...]
    left: Left
    rounds: int | None = None

    @cached_property
    def workload(self) -> Workload:
        """How much there is to do, and what a unit took so far."""
        return workload_of(self.context)

    @cached_property
    def menu(self) -> tuple[Offer, ...]:
        """Everything that can be done, with prices, affordable or not."""
        done = {step.decision.key for step in self.steps}
        most = math.inf if self.rounds is None else self.rounds
        # Nothing would learn from data that is changed twice in a row.
        last = self.steps[-1].decision.action if self.steps else None
        new_data = last is not None and last.only_data and last.kind != BEFORE_DATA
        actions = [
            action
            for action in offered(self.context, self.state, done)
            if action.round <= most and not (new_data and action.only_data)
        ]
        return tuple(Offer(action, self._price(action)) for action in actions)

    @cached_property
    def affordable(self) -> tuple[Offer, ...]:
        """The part of the menu that the budget allows."""
        return tuple(
            offer
            for offer in self.menu
            if self.left.allows(offer.cost) and offer.action.needed(self.context, self.state) <= self.left.seconds
        )

    def _price(self, action: Action) -> Cost:
        cost = action.estimate(self.workload, self.state)
        return replace(cost, seconds=cost.seconds * correction(self.steps, action.kind))


def correction(steps: tuple[Step, ...], kind: str) -> float:
    """Return the factor between what actions of a kind took in this run and what was estimated; 1 before any.

    The prices of earlier steps were corrected by what was known then, which is taken out again.
    """
    logs: list[float] = []

    def factor() -> float:
        return math.exp(sum(logs) / (len(logs) + TRUST))

    for step in of_kind(steps, kind):
        if step.decision.seconds:
            logs.append(math.log(max(step.seconds, 0.01) * factor() / step.decision.seconds))
    return factor()


class Policy(Protocol):
    """Decides what is next."""

    def choose(self, situation: Situation) -> Decision | None:
        """Return the next decision; None: the policy has nothing more to do."""


@runtime_checkable
class Foreseeing(Protocol):
    """A policy whose next decisions do not wait for results, so that their jobs can be handed out together."""

    def following(self, context: RunContext, number: int) -> Sequence[Action]:
        """Return the actions after step ``number``, counted from 1."""
