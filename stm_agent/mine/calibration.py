"""Calibrate the evidence for relevance on known positives: a chance for each candidate, and the rate with an interval.

A logistic regression of known positives against all candidates turns the features into one score; every suspect is
scored by a regression that did not see its query. A mixture of that score gives chances and the rate (see
:mod:`stm_agent.mine.mixture`). The interval is a percentile bootstrap over queries; the degree of the tilt is chosen in
each sample again, so that the interval holds the doubt about it too. It assumes that hidden positives score like the
known ones that the same retrieval found, beside the other positives of their query.

Where queries have one known positive each, the same is done with features that need no other one, on all known
positives. It then assumes that the hidden positives of a query score like its judged one, as if that one had been drawn
from them ("selected completely at random", Elkan & Noto, KDD 2008, within each query). A query that hides many relevant
passages shows one, and these are often weaker than those of a query that hides none, so each known positive is weighted
by how many its query is estimated to hide; weights and mixture are fitted in turn. If people judged what is easiest to
find, hidden ones score lower, and the rate is too low.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stm_agent.mine.mixture import Bins, Mixture, fit_logistic, fit_mixture, fit_resamples

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
FEWEST_KNOWN, FEWEST_QUERIES, FEWEST_CANDIDATES = 30, 10, 50
"""Known positives, queries that have some, and candidates, below which nothing is calibrated."""
FOLDS = 5
NEWTON = 12
TURNS = 3
"""Times that weights of known positives and the mixture are fitted in turn, where queries have one known positive."""
SAMPLES = 300
"""Bootstrap samples."""
LEVEL = 0.95
CAUTION = 0.1
"""Quantile of the bootstrap samples whose chances decide what is relabelled."""


@dataclass(frozen=True)
class Rate:
    """An estimated share of relevant passages, with its 95 % interval, among ``count`` passages."""

    share: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Calibrated:
    """A calibrated family of candidates.

    Attributes:
        scores: Score of every row, known ones included.
        chances: Probability that each row is relevant; 1 for known ones.
        cautious: The same, as low as it is in one of ten bootstrap samples.
        bins: Bins of the scores.
        samples: Weights of the queries in each bootstrap sample, and the chance in each bin by a mixture fitted to it.
    """

    scores: Floats
    chances: Floats
    cautious: Floats
    bins: Bins
    samples: tuple[tuple[Floats, Floats], ...]
    _queries: NDArray[np.int64]

    def rate(self, part: Mask) -> Rate:
        """Return the rate among the rows of a part, which has no known positives."""
        table = _table(self._queries, self.bins.numbers(self.scores), part, len(self.bins.centres))
        sampled = [_mean(chances, weights @ table) for weights, chances in self.samples]
        share = float(self.chances[part].mean()) if part.any() else 0.0
        low, high = np.quantile(sampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if sampled else (0.0, 1.0)
        return Rate(share, min(float(low), share), max(float(high), share), int(part.sum()))


def _table(queries: NDArray[np.int64], numbers: NDArray[np.int64], mask: Mask, bins: int) -> Floats:
    table = np.zeros((int(queries.max()) + 1, bins))
    np.add.at(table, (queries[mask], numbers[mask]), 1.0)
    return table


def _mean(chances: Floats, counts: Floats) -> float:
    total = float(counts.sum())
    return float(chances @ counts) / total if total else 0.0


def lacking(known: Mask, queries: NDArray[np.int64]) -> str | None:
    """Return in one line why nothing can be calibrated; None: it can."""
    if known.sum() < FEWEST_KNOWN or len(set(queries[known].tolist())) < FEWEST_QUERIES:
        return (
            f"no estimate: {int(known.sum())} known positives were found by retrieval; "
            f"it needs {FEWEST_KNOWN} of {FEWEST_QUERIES} queries"
        )
    if (~known).sum() < FEWEST_CANDIDATES:
        return f"no estimate: {int((~known).sum())} negatives are too few; it needs {FEWEST_CANDIDATES}"
    return None


def calibrate(
    features: Floats, known: Mask, queries: NDArray[np.int64], seed: int = 0, *, alone: bool = False
) -> Calibrated:
    """Calibrate one family of candidates; call :func:`lacking` before.

    Args:
        features: ``[rows, features]``.
        known: Which rows are known positives.
        queries: Number of each row's query.
        seed: Seed of the bootstrap.
        alone: Whether known positives are mostly alone in their query: those of a query then stand for what it hides.
    """
    scores = _scores(features, known, queries)
    bins = Bins.of(scores[known], scores[~known])
    numbers, size = bins.numbers(scores), len(bins.centres)
    _, dense = np.unique(queries, return_inverse=True)
    known_table, table = (_table(dense, numbers, mask, size) for mask in (known, ~known))
    fit, fits = fit_mixture(bins, known_table.sum(axis=0), table.sum(axis=0))
    for _ in range(TURNS if alone else 0):
        known_table = _weighted(known_table, table @ fit.chances(bins.centres))
        fit, fits = fit_mixture(bins, known_table.sum(axis=0), table.sum(axis=0))
    chances = fit.chances(scores)
    samples = tuple(_resample(bins, known_table, table, fits, seed))
    low = np.quantile([chance for _, chance in samples], CAUTION, axis=0) if samples else np.zeros(size)
    cautious = np.minimum(chances, low[numbers])
    chances[known] = cautious[known] = 1.0
    return Calibrated(scores, chances, cautious, bins, samples, dense)


def _weighted(known: Floats, hidden: Floats) -> Floats:
    """Return the table of known positives, each weighted by what its query hides, half of it shrunk to the mean.

    Args:
        known: Known positives, ``[queries, bins]``; those of a query may be weighted already.
        hidden: Relevant passages that each query is estimated to hide, ``[queries]``.
    """
    counts = known.sum(axis=1, keepdims=True)
    each = np.divide(known, counts, out=np.zeros_like(known), where=counts > 0)
    weighted: Floats = each * (hidden + max(float(hidden.mean()), 1e-9))[:, None]
    weighted *= (counts > 0).sum() / weighted.sum()
    return weighted


def _resample(
    bins: Bins, known: Floats, candidates: Floats, fits: Sequence[Mixture], seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """Yield the weights of the queries, and the chances in each bin, of bootstrap samples of the queries."""
    generator, queries = np.random.default_rng(seed), len(known)
    drawn = generator.multinomial(queries, np.full(queries, 1 / queries), size=SAMPLES).astype(np.float64)
    relevant, others = drawn @ known, drawn @ candidates
    usable = (relevant.sum(axis=1) > 0) & (others.sum(axis=1) > 0)
    fitted = fit_resamples(bins, relevant[usable], others[usable], fits)
    for weights, fit in zip(drawn[usable], fitted, strict=True):
        yield weights, fit.chances(bins.centres)


def _scores(features: Floats, known: Mask, queries: NDArray[np.int64]) -> Floats:
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    design = np.concatenate([np.ones((len(scaled), 1)), scaled], axis=1)
    scores = np.zeros(len(scaled))
    _, dense = np.unique(queries, return_inverse=True)
    for fold in range(FOLDS):
        held = dense % FOLDS == fold
        if held.any():
            labels = known[~held].astype(np.float64)
            start = np.zeros(design.shape[1])
            beta = fit_logistic(design[~held], labels, np.ones_like(labels), start, NEWTON)
            scores[held] = design[held] @ beta
    return scores
