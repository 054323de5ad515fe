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
"""Share of a quadratic tilt from which it is taken, and of any fit from which others start."""
RIDGE = 1e-3
ROUNDS = 100
"""Newton steps of a fit, at most."""
ENOUGH = 1e-6
"""Gain in log likelihood below which a fit has ended; what is decided by it compares gains above 1."""
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


def fit_mixture(bins: Bins, relevant: Floats, candidates: Floats) -> tuple[Mixture, tuple[Mixture, ...]]:
    """Fit the share and a tilt of each degree to one pair of samples; return the one to use, and all.

    Args:
        bins: The bins.
        relevant: Number of known relevant passages in each bin.
        candidates: Number of candidates in each bin.
    """
    fits = tuple(fit_tilts(bins, relevant[None], candidates[None], degree)[0] for degree in DEGREES)
    return _likelier(*fits), fits


def fit_resamples(bins: Bins, relevant: Floats, candidates: Floats, fits: Sequence[Mixture]) -> list[Mixture]:
    """Return the mixture to use for each of several pairs of samples.

    Args:
        bins: The bins.
        relevant: Number of known relevant passages, ``[samples, bins]``.
        candidates: Number of candidates, ``[samples, bins]``.
        fits: Fits of similar counts to start from, one a degree.
    """
    by_degree = (
        fit_tilts(bins, relevant, candidates, degree, start) for degree, start in zip(DEGREES, fits, strict=True)
    )
    return [_likelier(*pair) for pair in zip(*by_degree, strict=True)]


def _likelier(linear: Mixture, quadratic: Mixture) -> Mixture:
    # At a share of zero the curve has explained the relevant ones away.
    freer = quadratic.share > LEAST and 2 * (linear.loss - quadratic.loss) > SIGNIFICANT
    return quadratic if freer else linear


def fit_tilts(
    bins: Bins, relevant: Floats, candidates: Floats, degree: int, start: Mixture | None = None
) -> list[Mixture]:
    """Fit the share and the tilt of one degree to several pairs of samples by maximum likelihood, all at once.

    Args:
        bins: The bins.
        relevant: Number of known relevant passages, ``[samples, bins]``.
        candidates: Number of candidates, ``[samples, bins]``.
        degree: Degree of the tilt.
        start: A fit of similar counts to start from; None, or one whose share is zero: several shares.
    """
    terms, known, others = bins.terms(bins.centres, degree), relevant.sum(axis=0), candidates.sum(axis=0)
    # At a share of zero the likelihood is flat: a fit that starts there stays there, whatever the counts are.
    if start is not None and start.share > LEAST:
        starts = [np.append(start.ratio, _logit(start.share))]
    else:
        plain = fit_logistic(terms, known, known + others, np.zeros(degree + 1), 15)
        plain[0] += np.log(others.sum() / known.sum())
        starts = [np.append(plain, _logit(share)) for share in FIRST_SHARES]
    count = len(starts)
    first = np.repeat(starts, len(relevant), axis=0)
    found, losses = _minimise(first, terms, np.tile(relevant, (count, 1)), np.tile(candidates, (count, 1)))
    losses = losses.reshape(count, -1)
    best, every = losses.argmin(axis=0), np.arange(len(relevant))
    chosen = found.reshape(count, len(relevant), -1)[best, every]
    return [
        Mixture(float(1 / (1 + np.exp(-row[-1]))), row[:-1], bins, float(loss))
        for row, loss in zip(chosen, losses[best, every], strict=True)
    ]


def _minimise(parameters: Floats, terms: Floats, relevant: Floats, candidates: Floats) -> tuple[Floats, Floats]:
    """Return the parameters ``[samples, coefficients + 1]`` of least loss near those given, and ``[samples]`` losses.

    Newton's method with the absolute values of the curvature's eigenvalues, which leaves saddles (Dauphin et al.,
    NeurIPS 2014, arXiv 1406.2572), damped as by Levenberg and Marquardt, one damping a sample. A bound on the log-odds
    of the share is held by cutting the step.
    """
    parameters = parameters.copy()
    loss, gradient = _loss(parameters, terms, relevant, candidates)
    damping, moving = np.full(len(parameters), 1e-2), np.arange(len(parameters))
    for _ in range(ROUNDS):
        counts = terms, relevant[moving], candidates[moving]
        step = _step(parameters[moving], gradient[moving], damping[moving], *counts)
        trial = parameters[moving] + step
        trial[:, -1] = np.clip(trial[:, -1], -BOUNDS, BOUNDS)
        reached, slope = _loss(trial, *counts)
        gained = loss[moving] - reached
        better = gained > 0
        damping[moving] *= np.where(better, 1 / 4, 8.0)
        taken = moving[better]
        parameters[taken], gradient[taken], loss[taken] = trial[better], slope[better], reached[better]
        # A sample whose steps are refused is at its end only once its damping has made them tiny.
        ended = np.where(better, gained < ENOUGH, damping[moving] > 1e6)
        moving = moving[~ended]
        if not len(moving):
            break
    return parameters, loss


def _step(
    parameters: Floats, gradient: Floats, damping: Floats, terms: Floats, relevant: Floats, candidates: Floats
) -> Floats:
    """Return a damped Newton step of each sample, ``[samples, p]``."""
    values, vectors = np.linalg.eigh(_curvature(parameters, gradient, terms, relevant, candidates))
    along = np.einsum("spk,sp->sk", vectors, gradient) / (np.abs(values) + damping[:, None])
    step: Floats = -np.einsum("spk,sk->sp", vectors, along)
    step *= np.minimum(1.0, LONGEST_STEP / np.maximum(np.abs(step).max(axis=1), 1e-12))[:, None]
    return step


def _curvature(parameters: Floats, gradient: Floats, terms: Floats, relevant: Floats, candidates: Floats) -> Floats:
    """Return the symmetric second derivatives, ``[samples, p, p]``, by differences of the gradient."""
    width = 1e-5
    columns = []
    for number in range(parameters.shape[1]):
        moved = parameters.copy()
        moved[:, number] += width
        columns.append((_loss(moved, terms, relevant, candidates)[1] - gradient) / width)
    matrix = np.stack(columns, axis=2)
    return (matrix + matrix.transpose(0, 2, 1)) / 2


def _loss(parameters: Floats, terms: Floats, relevant: Floats, candidates: Floats) -> tuple[Floats, Floats]:
    """Return the negative log likelihood of each row's sample given its score, ``[samples]``, and its gradient.

    Args:
        parameters: Coefficients of the log ratio of the densities and the log-odds of the share,
            ``[samples, coefficients + 1]``.
        terms: ``[bins, coefficients]``.
        relevant: Known relevant passages in each bin, ``[samples, bins]``.
        candidates: Candidates in each bin, ``[samples, bins]``.
    """
    ratio = np.exp(np.clip(parameters[:, :-1] @ terms.T, -30, 30))
    share = 1 / (1 + np.exp(-parameters[:, -1:]))
    first, second = relevant.sum(axis=1, keepdims=True), candidates.sum(axis=1, keepdims=True)
    mixed = share * ratio + 1 - share
    both = first * ratio + second * mixed
    loss = -(relevant * np.log(first * ratio / both) + candidates * np.log(second * mixed / both)).sum(axis=1)
    loss += RIDGE * (parameters[:, 1:-1] ** 2).sum(axis=1) / 2
    common = (first + second * share) * ratio / both
    by_ratio = relevant * (1 - common) + candidates * (share * ratio / mixed - common)
    slope = (ratio - 1) * share * (1 - share)
    by_share = (candidates * slope / mixed - (relevant + candidates) * second * slope / both).sum(axis=1)
    gradient = np.concatenate([-by_ratio @ terms, -by_share[:, None]], axis=1)
    gradient[:, 1:-1] += RIDGE * parameters[:, 1:-1]
    return loss, gradient


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _posterior(share: float, log_ratio: Floats) -> Floats:
    odds = share * np.exp(np.clip(log_ratio, -30, 30))
    posterior: Floats = odds / (odds + 1 - share)
    return posterior
