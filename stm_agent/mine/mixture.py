"""The share of relevant passages among candidates, from their scores and those of known relevant passages.

Candidates are a sample of unknown labels; the known relevant passages are a sample of one label: case-control data with
contaminated controls (Lancaster & Imbens, *Case-control studies with contaminated controls*, Journal of Econometrics
71, 1996). An exponential tilt ties the two densities of a score z, f_relevant(z) / f_other(z) = exp(a + bz) or
exp(a + bz + cz^2), which leaves their shapes free and makes the share identifiable (Qin, *Empirical likelihood ratio
based confidence intervals for mixture proportions*, Annals of Statistics 27, 1999). The likelihood is that of a row's
sample given its score (Ward et al., *Presence-only data and the EM algorithm*, Biometrics 65, 2009), on binned scores;
it is maximised directly, since EM may take thousands of rounds where the samples overlap.

The correction of a flagged share by sensitivity and false-alarm rate (Rogan & Gladen, American Journal of Epidemiology
107, 1978) needs passages that are known not to be relevant. Random ones would not do: mined candidates score higher, so
their false alarms are more. The tilt gives both rates for the candidates themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 40
"""Bins of the scores, half of them by the quantiles of each sample."""
FIRST_SHARES = (0.005, 0.05, 0.3)
"""Shares that the fit starts from; the likeliest end counts."""
BOUNDS = 12.0
"""Largest log-odds of the share."""
LEAST = 1e-4
"""Share of a quadratic tilt from which it is taken."""
RIDGE = 1e-3
LONGEST_STEP = 3.0
"""Change of a coefficient in one Newton step, at most: samples that hardly overlap would send it to infinity."""
DEGREES = (1, 2)
"""Degrees of the tilt. The quadratic one fits almost any share, so it is taken only if it is significantly likelier."""
SIGNIFICANT = 3.84
"""Twice the gain in log likelihood from which the quadratic tilt is taken: 5 % of chi-squared with 1 degree."""


def fit_logistic(features: Floats, successes: Floats, trials: Floats, start: Floats, rounds: int) -> Floats:
    """Return the coefficients of a binomial logistic regression, by Newton's method from ``start``.

    Args:
        features: ``[rows, coefficients]``, with a constant column if one is wanted.
        successes: Weight of the successes in each row.
        trials: Weight of each row.
        start: First coefficients.
        rounds: Newton steps.
    """
    beta, ridge = start, RIDGE * np.eye(features.shape[1])
    for _ in range(rounds):
        chance = 1 / (1 + np.exp(-np.clip(features @ beta, -30, 30)))
        gradient = features.T @ (successes - trials * chance) - ridge @ beta
        curvature = (features * (trials * chance * (1 - chance))[:, None]).T @ features + ridge
        step = np.linalg.solve(curvature, gradient)
        beta = beta + step * min(1.0, LONGEST_STEP / max(float(np.abs(step).max()), 1e-12))
    return beta


@dataclass(frozen=True)
class Bins:
    """Bins of a score, and how it is rescaled.

    Attributes:
        edges: Inner edges, ascending; bin k holds the scores between edges k - 1 and k.
        centres: Mean score of each bin.
        mean: Mean of all scores.
        spread: Their standard deviation.
    """

    edges: Floats
    centres: Floats
    mean: float
    spread: float

    @classmethod
    def of(cls, relevant: Floats, candidates: Floats) -> Bins:
        """Cut both samples at the quantiles of each."""
        steps = np.linspace(0, 1, BINS // 2 + 1)[1:-1]
        edges = np.unique(np.concatenate([np.quantile(relevant, steps), np.quantile(candidates, steps)]))
        every = np.concatenate([relevant, candidates])
        bins = np.searchsorted(edges, every, side="right")
        sizes = np.bincount(bins, minlength=len(edges) + 1)
        # An empty bin cannot arise at its own quantile, except between equal scores.
        sums = np.bincount(bins, weights=every, minlength=len(edges) + 1)
        middles = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
        centres = np.where(sizes > 0, sums / np.maximum(sizes, 1), middles)
        return cls(edges, centres, float(every.mean()), float(every.std()) or 1.0)

    def numbers(self, scores: Floats) -> NDArray[np.int64]:
        """Return the bin of each score."""
        return np.searchsorted(self.edges, scores, side="right").astype(np.int64)

    def terms(self, scores: Floats, degree: int) -> Floats:
        """Return ``[scores, degree + 1]``: the powers of the rescaled scores."""
        rescaled = (scores - self.mean) / self.spread
        return np.stack([rescaled**power for power in range(degree + 1)], axis=1)


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture.

    Attributes:
        share: Share of relevant passages among the candidates.
        ratio: Log of f_relevant / f_other as coefficients of :meth:`Bins.terms`.
        bins: The bins of the fit.
        loss: Its negative log likelihood.
    """

    share: float
    ratio: Floats
    bins: Bins
    loss: float

    def chances(self, scores: Floats) -> Floats:
        """Return the probability that a candidate with each score is relevant; a higher score never has a lower one."""
        degree = len(self.ratio) - 1
        if degree > 1 and self.ratio[2]:
            # Beyond its vertex a parabola turns round.
            vertex = self.bins.mean - self.bins.spread * self.ratio[1] / (2 * self.ratio[2])
            scores = np.minimum(scores, vertex) if self.ratio[2] < 0 else np.maximum(scores, vertex)
        return _posterior(self.share, self.bins.terms(scores, degree) @ self.ratio)


def fit_mixture(
    bins: Bins, relevant: Floats, candidates: Floats, starts: Sequence[Mixture | None] = (None, None)
) -> tuple[Mixture, tuple[Mixture, ...]]:
    """Fit the share and a tilt of each degree; return the one to use, and all.

    Args:
        bins: The bins.
        relevant: Number of known relevant passages in each bin.
        candidates: Number of candidates in each bin.
        starts: Fits of similar counts to start from, one a degree; None: several shares.
    """
    fits = tuple(
        fit_tilt(bins, relevant, candidates, degree, start) for degree, start in zip(DEGREES, starts, strict=True)
    )
    linear, quadratic = fits
    # At a share of zero the curve has explained the relevant ones away.
    freer = quadratic.share > LEAST and 2 * (linear.loss - quadratic.loss) > SIGNIFICANT
    return (quadratic if freer else linear), fits


def fit_tilt(bins: Bins, relevant: Floats, candidates: Floats, degree: int, start: Mixture | None) -> Mixture:
    """Fit the share and the tilt of one degree by maximum likelihood.

    Args:
        bins: The bins.
        relevant: Number of known relevant passages in each bin.
        candidates: Number of candidates in each bin.
        degree: Degree of the tilt.
        start: A fit of similar counts to start from; None: several shares.
    """
    from scipy.optimize import minimize

    terms = bins.terms(bins.centres, degree)
    if start is not None:
        starts = [np.append(start.ratio, _logit(start.share))]
    else:
        plain = fit_logistic(terms, relevant, relevant + candidates, np.zeros(degree + 1), 15)
        plain[0] += np.log(candidates.sum() / relevant.sum())
        starts = [np.append(plain, _logit(share)) for share in FIRST_SHARES]
    bounds = [(None, None)] * (degree + 1) + [(-BOUNDS, BOUNDS)]
    fits = [
        minimize(_loss, first, (terms, relevant, candidates), jac=True, method="L-BFGS-B", bounds=bounds)
        for first in starts
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    return Mixture(float(1 / (1 + np.exp(-best.x[-1]))), best.x[:-1], bins, float(best.fun))


def _loss(parameters: Floats, terms: Floats, relevant: Floats, candidates: Floats) -> tuple[float, Floats]:
    """Return the negative log likelihood of each row's sample given its score, and its gradient.

    Args:
        parameters: Coefficients of the log ratio of the densities, and the log-odds of the share.
        terms: ``[bins, coefficients]``.
        relevant: Known relevant passages in each bin.
        candidates: Candidates in each bin.
    """
    ratio = np.exp(np.clip(terms @ parameters[:-1], -30, 30))
    share = 1 / (1 + np.exp(-parameters[-1]))
    first, second = relevant.sum(), candidates.sum()
    mixed = share * ratio + 1 - share
    both = first * ratio + second * mixed
    loss = -(relevant * np.log(first * ratio / both) + candidates * np.log(second * mixed / both)).sum()
    loss += RIDGE * (parameters[1:-1] ** 2).sum() / 2
    common = (first + second * share) * ratio / both
    by_ratio = relevant * (1 - common) + candidates * (share * ratio / mixed - common)
    slope = (ratio - 1) * share * (1 - share)
    by_share = (candidates * slope / mixed - (relevant + candidates) * second * slope / both).sum()
    penalty = np.concatenate([[0.0], RIDGE * parameters[1:-1]])
    return float(loss), np.append(penalty - terms.T @ by_ratio, -by_share)


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _posterior(share: float, log_ratio: Floats) -> Floats:
    odds = share * np.exp(np.clip(log_ratio, -30, 30))
    posterior: Floats = odds / (odds + 1 - share)
    return posterior
