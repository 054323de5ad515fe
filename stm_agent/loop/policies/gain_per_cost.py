"""The actions that gain most together in what is left, one after another.

What an action of a kind gains is believed to be normal; the belief begins with the kind's prior and what earlier runs
of the workspace measured, and moves with every action of the run. A worse model is not taken, so what is expected of an
action is the expected improvement: the mean of the positive part. It is large for actions that are good, and for those
of which little is known (Mockus 1975).

To take what gains most for each second (Snoek et al. 2012, arXiv 1206.2944) spends the time on what is cheap and leaves
too little for what is dear and better. So the actions are chosen that gain most together in the seconds that are left,
as a knapsack is filled. What leads to a first expert of both sides comes first, since all that is learnt for queries
stands on the vectors of passages; then the best for its time. The choice is made again after each action.
"""

from __future__ import annotations

import math
from collections import Counter
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
from stm_agent.loop.history import Decision, credited
from stm_agent.loop.other_starts import ahead
from stm_agent.loop.policies.policy import Left, Offer, Situation

PRIOR_WEIGHT = 1.0
"""Actions that a kind's prior weighs as."""

EARLIER_WEIGHT = 2.0
"""Actions that the mean of earlier runs weighs as, at most: another domain, or another seed."""

LEAST = 1e-4
"""nDCG@10 below which nothing is expected of an action."""

FADES = 0.6
"""Gain of one more action of a kind in a run, as a share of that of the one before: it starts from a better model."""

GRID = 200
"""Parts into which the seconds that are left are cut."""

HOUR = 3600.0
"""Seconds that all dollars and calls are worth if time has no ceiling."""

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


@dataclass(frozen=True, kw_only=True)
class Option:
    """An offer as the policy sees it.

    Attributes:
        offer: The action with its price.
        gain: Expected improvement, in nDCG@10.
        seconds: What it takes with what must follow; dollars and calls as the seconds that they are a share of.
    """

    offer: Offer
    gain: float
    seconds: float

    @property
    def rate(self) -> float:
        """Expected improvement for each second."""
        return self.gain / self.seconds


class GainPerCost:
    """Chooses what is expected to improve most in what is left."""

    def __init__(self, earlier: Mapping[str, Sequence[float]]) -> None:
        """Take kind -> gains of earlier runs."""
        self.earlier = earlier

    @classmethod
    def with_earlier_runs(cls, context: RunContext) -> GainPerCost:
        """Return the policy with what earlier runs of the workspace measured."""
        return cls(earlier_gains(context.run.folder.parent, besides=context.run.id))

    def choose(self, situation: Situation) -> Decision | None:
        """Return the first of the actions that are worth most together; None: nothing is expected of any."""
        chosen = best_together(self._options(situation), situation.left.seconds)
        if not chosen:
            return None
        untrained = not any(expert.side == "both" for expert in situation.state.experts)

        def order(option: Option) -> tuple[bool, float]:
            return untrained and isinstance(option.offer.action, PrepareData | TrainExpert), option.rate

        best = max(chosen, key=order)
        together = f"one of {len(chosen)} that fit" if len(chosen) > 1 else "the best for its time"
        return Decision(
            action=best.offer.action,
            reason=f"{best.gain:+.4f} expected for {best.offer.cost.seconds:.0f} s, {together}",
            by="gain-per-cost",
            seconds=best.offer.cost.seconds,
            dollars=best.offer.cost.dollars,
        )

    def _options(self, situation: Situation) -> list[Option]:
        """Return what can be done in time, what must follow before it gains included, and gains enough."""
        options = []
        for offer in situation.affordable:
            cost = offer.cost + _until_it_pays(offer.action, situation)
            gain = self.belief(offer.action, situation).improvement
            if situation.left.allows(cost) and gain >= LEAST:
                options.append(Option(offer=offer, gain=gain, seconds=OVERHEAD + _seconds(cost, situation.left)))
        return options

    def belief(self, action: Action, situation: Situation) -> Belief:
        """Return what an action is believed to gain."""
        prior = _prior(action, situation)
        steps = zip(situation.steps, credited(situation.steps), strict=True)
        measured = [gain for step, gain in steps if step.decision.action.kind == action.kind and gain is not None]
        earlier = self.earlier.get(action.kind, ())
        weight = min(EARLIER_WEIGHT, float(len(earlier)))
        total = PRIOR_WEIGHT * prior.gain + weight * (mean(earlier) if earlier else 0.0) + sum(measured)
        count = PRIOR_WEIGHT + weight + len(measured)
        fades = FADES ** len(measured)
        return Belief(fades * total / count, fades * prior.spread / math.sqrt(count))


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
    """Return the seconds of a cost; a share of the dollars or calls that are left counts as that share of the time."""
    shares = [
        part / whole for part, whole in ((cost.dollars, left.dollars), (cost.calls, left.calls)) if 0 < whole < math.inf
    ]
    time = HOUR if math.isinf(left.seconds) else left.seconds
    return cost.seconds + max(shares, default=0.0) * time


def best_together(options: Sequence[Option], seconds: float) -> list[Option]:
    """Return the options that gain most together in some seconds (0/1 knapsack over a grid of the seconds).

    Actions of one kind are alike, so the second best of a kind counts less than the best, and so on. Without a ceiling
    on time, it is the one that gains most for each second.
    """
    if math.isinf(seconds):
        return sorted(options, key=lambda option: -option.rate)[:1]
    counted = _with_fewer_gains(options)
    sizes = [max(1, math.ceil(option.seconds / max(seconds, 1.0) * GRID)) for option, _ in counted]
    # Cells -> gain and options of the best choice that fills at most so many of them.
    best: list[tuple[float, tuple[Option, ...]]] = [(0.0, ())] * (GRID + 1)
    for (option, gain), size in zip(counted, sizes, strict=True):
        for cells in range(GRID, size - 1, -1):
            before, chosen = best[cells - size]
            best[cells] = max(best[cells], (before + gain, (*chosen, option)), key=lambda choice: choice[0])
    return list(best[GRID][1])


def _with_fewer_gains(options: Sequence[Option]) -> list[tuple[Option, float]]:
    """Return options with their gain, less of it for each of the same kind that is better for its time."""
    seen: Counter[str] = Counter()
    counted = []
    for option in sorted(options, key=lambda option: -option.rate):
        kind = option.offer.action.kind
        counted.append((option, option.gain * FADES ** seen[kind]))
        seen[kind] += 1
    return counted
