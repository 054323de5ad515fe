"""The action with the largest expected gain for its cost.

What an action of a kind gains is believed to be normal; the belief begins with the kind's prior and what earlier runs
of the workspace measured, and moves with every action of the run. A worse model is not taken, so what is expected of an
action is the expected improvement: the mean of the positive part. It is large for actions that are good, and for those
of which little is known (Mockus 1975; divided by cost, Snoek et al. 2012, arXiv 1206.2944).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean

from stm_agent.loop.actions.action import Action, Prior
from stm_agent.loop.actions.data import PrepareData
from stm_agent.loop.actions.start import RaceStart, TrainOnStart
from stm_agent.loop.actions.training import TrainExpert
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost
from stm_agent.loop.earlier import earlier_gains
from stm_agent.loop.history import Decision, credited_gains
from stm_agent.loop.other_starts import ahead
from stm_agent.loop.policies.policy import Left, Offer, Situation

PRIOR_WEIGHT = 1.0
"""Actions that a kind's prior weighs as."""

EARLIER_WEIGHT = 2.0
"""Actions that the mean of earlier runs weighs as, at most: another domain, or another seed."""

LEAST = 1e-4
"""nDCG@10 below which nothing is expected of an action."""

OVERHEAD = 1.0
"""Seconds that every action takes, so that none is free."""

NORMAL = NormalDist()


@dataclass(frozen=True)
class Belief:
    """What an action is believed to gain: mean and standard deviation, in nDCG@10 on the search half."""

    gain: float
    spread: float

    @property
    def improvement(self) -> float:
        """Expected value of the positive part."""
        if self.spread <= 0:
            return max(self.gain, 0.0)
        ratio = self.gain / self.spread
        return self.gain * NORMAL.cdf(ratio) + self.spread * NORMAL.pdf(ratio)


class GainPerCost:
    """Chooses by expected improvement per second."""

    def __init__(self, earlier: Mapping[str, Sequence[float]]) -> None:
        """Take kind -> gains of earlier runs."""
        self.earlier = earlier

    @classmethod
    def with_earlier_runs(cls, context: RunContext) -> GainPerCost:
        """Return the policy with what earlier runs of the workspace measured."""
        return cls(earlier_gains(context.run.folder.parent, besides=context.run.id))

    def choose(self, situation: Situation) -> Decision | None:
        """Return the best affordable action; None: nothing is expected of any."""
        best = max(situation.affordable, key=lambda offer: self.worth(offer, situation), default=None)
        if best is None:
            return None
        expected = self.belief(best.action, situation).improvement
        if expected < LEAST:
            return None
        reason = f"{expected:+.4f} expected for {best.cost.seconds:.0f} s, the most of {len(situation.affordable)}"
        return Decision(
            action=best.action,
            reason=reason,
            by="gain-per-cost",
            seconds=best.cost.seconds,
            dollars=best.cost.dollars,
        )

    def worth(self, offer: Offer, situation: Situation) -> float:
        """Return the expected improvement for each second; dollars count as the seconds that they are a share of."""
        cost = offer.cost + _until_it_pays(offer.action, situation)
        return self.belief(offer.action, situation).improvement / (OVERHEAD + _seconds(cost, situation.left))

    def belief(self, action: Action, situation: Situation) -> Belief:
        """Return what an action is believed to gain."""
        prior = _prior(action, situation)
        outcomes = [(step.decision.action.kind, step.gain) for step in situation.steps if not step.failed]
        measured = credited_gains(outcomes).get(action.kind, [])
        earlier = self.earlier.get(action.kind, ())
        weight = min(EARLIER_WEIGHT, float(len(earlier)))
        total = PRIOR_WEIGHT * prior.gain + weight * (mean(earlier) if earlier else 0.0) + sum(measured)
        count = PRIOR_WEIGHT + weight + len(measured)
        return Belief(total / count, prior.spread / math.sqrt(count))


def _prior(action: Action, situation: Situation) -> Prior:
    """Return a kind's prior; data that experts wait for is worth what they are, and so are experts on another start."""
    if isinstance(action, RaceStart | TrainOnStart):
        gain = TrainExpert.prior.gain + ahead(action.model, situation.context, situation.state)
        return Prior(gain=gain, spread=action.prior.spread)
    waits = isinstance(action, PrepareData) and situation.state.training_data is None
    return TrainExpert.prior if waits else action.prior


def _until_it_pays(action: Action, situation: Situation) -> Cost:
    """Return the cost of what must follow before an action can gain: data alone changes no model."""
    if not action.pays_later:
        return Cost(seconds=0.0)
    costs = [situation.workload.training(spec) for spec in situation.workload.spec.experts]
    return min(costs, key=lambda cost: cost.seconds, default=Cost(seconds=0.0))


def _seconds(cost: Cost, left: Left) -> float:
    if math.isinf(left.seconds) or math.isinf(left.dollars) or not left.dollars:
        return cost.seconds
    return cost.seconds + cost.dollars / left.dollars * left.seconds
