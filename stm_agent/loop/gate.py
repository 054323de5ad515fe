"""A gain is claimed only when it is real: provisional acceptance on one half of dev, confirmation on the other.

Choosing and claiming are separate. :meth:`Gate.consider` is asked as often as a run likes and sees the search half
alone. :meth:`Gate.confirm` is a look at the accept half, is counted, and spends a part of ``GateSpec.alpha``. What is
not confirmed at the end is rolled back. All values are frozen and all draws are seeded: the same scores and the same
state give the same verdict, so a resumed run replays its gates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TypedDict

from stm_agent.errors import ConfigError
from stm_agent.loop.halves import DevHalves
from stm_agent.loop.paired_test import Difference, difference, sign_flip_p_value

Scored = Mapping[str, float]
"""Query id -> nDCG@10, over all dev queries."""

NORMAL = NormalDist()

SHARED_NOISE = 0.5
"""Correlation of the differences of two candidates from one incumbent: both contain the incumbent's noise."""

USUAL_GAIN, USUAL_GAIN_SPREAD = 0.005, 0.0075
"""nDCG@10: mean and standard deviation of what a proposal is truly worth, assumed before it is scored (a normal prior).
``benchmarks/gate.py`` measures the rule with proposals that are worth this, more, less and nothing."""

SPENDABLE = 0.8
"""Share of alpha that looks spend. The sign-flip test is exact for symmetric differences; real ones are skewed, and
spending all of alpha was measured at 4.7 to 5.2 % of runs for an alpha of 5 %. The rest is kept so that alpha holds."""

MOST_LENIENT = 1.0
"""Standard errors by which a challenger may look worse and still be taken. Without this bound a dev set of 20 queries,
which says next to nothing, would take all that is proposed."""

USUAL_SPREAD = 0.2
"""nDCG@10: standard deviation of one query's difference between two models, assumed before any is known."""


@dataclass(frozen=True, kw_only=True)
class GateSpec:
    """How strict a gate is.

    Attributes:
        alpha: Chance, at most, that a run whose changes are all worthless ends with a confirmed one; ``budget`` of it
            is spent over the looks.
        looks: Confirmations planned. One, at the end, is the most powerful; more let a run stop early.
        samples: Sign patterns of a test.
        seed: Seed of the patterns.
    """

    alpha: float = 0.05
    looks: int = 1
    samples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no test can use."""
        if not 0 < self.alpha < 1 or self.looks < 1 or self.samples < 1:
            raise ConfigError(f"{self} cannot be used; alpha lies between 0 and 1, looks and samples are 1 or more")

    @property
    def budget(self) -> float:
        """Sum of the levels of all looks."""
        return self.alpha * SPENDABLE


class Spent(TypedDict):
    """What was spent, as JSON; see :class:`GateState`."""

    looks: int
    spent: float
    before: float


@dataclass(frozen=True, kw_only=True)
class GateState:
    """What was spent so far.

    Attributes:
        looks: Confirmations taken since the plan of looks began.
        spent: Alpha spent by all confirmations.
        before: The part of ``spent`` that was spent before the plan began (see :meth:`renewed`).
    """

    looks: int = 0
    spent: float = 0.0
    before: float = 0.0

    def renewed(self) -> GateState:
        """Return the state of a continued run, which plans all its looks again over the alpha that is left."""
        return GateState(spent=self.spent, before=self.spent)

    def to_json(self) -> Spent:
        """Return the state as JSON values; ``GateState(**value)`` reads it back."""
        return {"looks": self.looks, "spent": self.spent, "before": self.before}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a challenger becomes the provisional model.

    Attributes:
        accepted: It does.
        gain: Difference in nDCG@10 on the search half.
        expected: The gain to expect on new queries: shrunk for noise and for the number of candidates tried.
        error: Standard error of ``gain``.
        reason: One line for ledger and screen.
    """

    accepted: bool
    gain: float
    expected: float
    error: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Whether the provisional model is confirmed.

    Attributes:
        confirmed: The gain is claimed.
        gain: Difference in nDCG@10 on the accept half.
        low: Lower bound of the gain at ``level``, one-sided, by the normal approximation; for display.
        p_value: One-sided p-value of "no gain".
        level: Alpha that this look spent.
        reason: One line for ledger and screen.
    """

    confirmed: bool
    gain: float
    low: float
    p_value: float
    level: float
    reason: str


@dataclass(frozen=True)
class Gate:
    """The gate of one run.

    Attributes:
        halves: The cut dev set.
        spec: How strict the gate is.
    """

    halves: DevHalves
    spec: GateSpec = GateSpec()

    def consider(self, challenger: Scored, incumbent: Scored, tried: int = 1, *, costly: bool = False) -> Verdict:
        """Decide on the search half whether a challenger becomes the provisional model; costs no look.

        The gain to expect on new queries is the posterior mean of what the challenger is worth: the observed gain, less
        the luck of the best of ``tried``, shrunk towards ``USUAL_GAIN``. A challenger that looks worse by less than the
        noise is taken: the incumbent was chosen for its luck on the same queries and the challenger was not, and what
        is claimed is decided by the confirmation, on other queries.

        Args:
            challenger: Scores of the best of the candidates.
            incumbent: Scores of the provisional model.
            tried: Candidates that the search half chose the challenger from, itself included.
            costly: The change costs the user something for ever: it must look better, and is shrunk towards 0.

        Raises:
            DataError: A score is missing.
        """
        seen = difference(challenger, incumbent, self.halves.search, self.halves.groups)
        expected, accepted = 0.0, False
        # One group shows no noise to judge a gain by: nothing is expected of it.
        if math.isfinite(seen.error):
            gain = seen.mean - _luck(seen.error, tried)
            expected = _posterior_mean(gain, seen.error, 0.0 if costly else USUAL_GAIN)
            accepted = expected > 0 and gain > -MOST_LENIENT * seen.error
        of_tried = f", best of {tried}" if tried > 1 else ""
        reason = (
            f"{'taken provisionally' if accepted else 'not taken'}: {seen.mean:+.4f} on {seen.queries} search "
            f"queries{of_tried}, {expected:+.4f} expected on new ones"
        )
        return Verdict(accepted=accepted, gain=seen.mean, expected=expected, error=seen.error, reason=reason)

    def expected_gain(self, challenger: Scored, incumbent: Scored, spread: float) -> float:
        """Return the part of a gain on the search half that is expected on new queries.

        The larger the standard error of the gain, the smaller the part.

        Args:
            challenger: Scores after a change.
            incumbent: Scores before.
            spread: Standard deviation of what such changes are truly worth, in nDCG@10.
        """
        seen = difference(challenger, incumbent, self.halves.search, self.halves.groups)
        # One group shows no noise to judge a gain by.
        return _posterior_mean(seen.mean, seen.error, 0.0, spread) if math.isfinite(seen.error) else 0.0

    def confirm(
        self,
        provisional: Scored,
        confirmed: Scored,
        state: GateState,
        *,
        tried: int = 1,
        last: bool = False,
        continues: bool = False,
    ) -> tuple[Confirmation, GateState]:
        """Test the provisional model against the last confirmed one on the accept half; costs a look.

        Nothing is spent if the two have the same scores.

        Args:
            provisional: Scores of the provisional model.
            confirmed: Scores of the last confirmed model.
            state: What was spent so far.
            tried: Candidates that were scored on dev since the start of the run, those inside levers included; counts
                only if dev was not cut.
            last: Spend all alpha that is left: no look follows.
            continues: The run may be continued after its last look, which then spends half of what is left.

        Returns:
            The outcome and the state after it.

        Raises:
            DataError: A score is missing.
        """
        seen = difference(provisional, confirmed, self.halves.accept, self.halves.groups)
        if not seen.sums.any():
            reason = "nothing to confirm: the scores are those of the last confirmed model"
            return Confirmation(confirmed=False, gain=0.0, low=0.0, p_value=1.0, level=0.0, reason=reason), state
        level = self._level(state, last=last, continues=continues)
        outcome = self._test(seen, level, tried, "confirmed", "not confirmed")
        return outcome, replace(state, looks=state.looks + 1, spent=state.spent + level)

    def smallest_gain(self, known: tuple[Scored, Scored] | None = None, power: float = 0.8) -> float:
        """Return the gain in nDCG@10 that the last look confirms with probability ``power``.

        Args:
            known: Scores of two models whose per-query differences are typical of this run; without, a standard
                deviation of ``USUAL_SPREAD`` is assumed.
            power: Probability, above 0.5 and below 1.
        """
        error = USUAL_SPREAD / math.sqrt(len(self.halves.accept))
        if known is not None:
            seen = difference(*known, self.halves.accept, self.halves.groups)
            error = seen.error if seen.sums.any() else error
        level = self.spec.budget * _spending(self.spec.looks, self.spec.looks)
        return (NORMAL.inv_cdf(1 - level) + NORMAL.inv_cdf(power)) * error

    def _level(self, state: GateState, *, last: bool, continues: bool) -> float:
        left = max(self.spec.budget - state.spent, 0.0)
        if last:
            return left / 2 if continues else left
        return min(left, (self.spec.budget - state.before) * _spending(state.looks + 1, self.spec.looks))

    def _test(self, seen: Difference, level: float, tried: int, passed: str, failed: str) -> Confirmation:
        # Levers chose on the accept half too if dev was not cut: each change tried is a test (Bonferroni).
        bar = level / max(tried, 1) if self.halves.mode == "whole" else level
        p_value = sign_flip_p_value(seen.sums, samples=self.spec.samples, seed=self.spec.seed)
        confirmed = 0 < p_value <= bar
        low = seen.mean - NORMAL.inv_cdf(1 - bar) * seen.error if 0 < bar < 1 else -math.inf
        sign = "<=" if confirmed else ">"
        reason = (
            f"{passed if confirmed else failed}: {seen.mean:+.4f} on {seen.queries} accept queries, "
            f"p {p_value:.4f} {sign} {bar:.4f}"
        )
        return Confirmation(confirmed=confirmed, gain=seen.mean, low=low, p_value=p_value, level=level, reason=reason)


def _spending(look: int, looks: int) -> float:
    """Return the share of alpha of one look: cubic spending, most of it at the last (Kim and DeMets 1987)."""
    return 0.0 if look > looks else (look / looks) ** 3 - ((look - 1) / looks) ** 3


def _luck(error: float, tried: int) -> float:
    """Return by how much the best of ``tried`` worthless candidates is expected to look better than it is.

    The expected maximum of ``tried`` normal draws (Blom 1958), times the noise that candidates do not share.
    """
    if tried <= 1:
        return 0.0
    return math.sqrt(1 - SHARED_NOISE) * error * NORMAL.inv_cdf((tried - 0.375) / (tried + 0.25))


def _posterior_mean(gain: float, error: float, prior: float, spread: float = USUAL_GAIN_SPREAD) -> float:
    """Return what a gain observed with this standard error is worth under a normal prior (Efron and Morris 1975)."""
    if not error:
        return gain
    return (spread**2 * gain + error**2 * prior) / (spread**2 + error**2)
