"""Paired bootstrap over queries (Sakai 2006; Smucker et al. 2007): is a difference more than chance?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stm_agent.errors import DataError

CHUNK = 1000
"""Resamples drawn at once; bounds memory at ``CHUNK x queries`` floats."""


@dataclass(frozen=True)
class Interval:
    """A mean and its percentile bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Challenger minus incumbent on the same queries.

    Attributes:
        delta: Mean difference.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p_value: Two-sided bootstrap p-value of no difference.
        queries: Number of queries.
    """

    delta: float
    low: float
    high: float
    p_value: float
    queries: int


def confidence_interval(
    per_query: Mapping[str, float], *, samples: int = 10_000, seed: int = 0, alpha: float = 0.05
) -> Interval:
    """Return the mean of a per-query score with its ``1 - alpha`` interval.

    Raises:
        DataError: The scores are empty.
    """
    values = _values(per_query)
    low, high = np.quantile(_means(values, samples, seed), [alpha / 2, 1 - alpha / 2])
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(
    challenger: Mapping[str, float],
    incumbent: Mapping[str, float],
    *,
    samples: int = 10_000,
    seed: int = 0,
    alpha: float = 0.05,
) -> Comparison:
    """Compare two per-query scores of the same queries.

    Raises:
        DataError: The two do not score the same queries.
    """
    if challenger.keys() != incumbent.keys():
        unshared = sorted(challenger.keys() ^ incumbent.keys())[:3]
        raise DataError(
            f"the two runs do not score the same queries (only one has {', '.join(unshared)}); score both on one split"
        )
    values = _values({query: challenger[query] - incumbent[query] for query in challenger})
    means = _means(values, samples, seed)
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    # Two-sided: the share of resampled differences on the other side of 0, at least one resample.
    tail = min(float((means <= 0).mean()), float((means >= 0).mean()))
    p_value = min(1.0, max(2 * tail, 1 / samples))
    return Comparison(
        delta=float(values.mean()), low=float(low), high=float(high), p_value=p_value, queries=len(values)
    )


def _values(per_query: Mapping[str, float]) -> NDArray[np.float64]:
    if not per_query:
        raise DataError("no scored queries to compare; check the split's judgements")
    # Sorted, so that the order of the scores does not change the interval.
    return np.array([per_query[query] for query in sorted(per_query)])


def _means(values: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    return np.concatenate(list(_chunks(values, samples, np.random.default_rng(seed))))


def _chunks(values: NDArray[np.float64], samples: int, random: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    for begin in range(0, samples, CHUNK):
        count = min(CHUNK, samples - begin)
        yield values[random.integers(0, len(values), (count, len(values)))].mean(axis=1)
