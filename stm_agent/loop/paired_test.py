"""Paired test of a gain over queries that may come in groups: sign-flip randomisation, one-sided."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stm_agent.errors import DataError

Floats = NDArray[np.float64]

EXACT_GROUPS = 13
"""Groups up to which all sign patterns are enumerated (8,192), rather than drawn."""

CHUNK = 1000
"""Sign patterns drawn at once; bounds memory to ``CHUNK`` times groups float64."""

TIE = 1e-12
"""nDCG@10 below which two mean differences are the same number, up to the order of summation."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Challenger minus incumbent on the same queries.

    Attributes:
        mean: Mean difference in nDCG@10.
        error: Standard error of the mean, over groups; infinite with one group.
        sums: Sum of the differences of each group, ``[groups]``.
        queries: Number of queries.
    """

    mean: float
    error: float
    sums: Floats
    queries: int


def difference(
    challenger: Mapping[str, float],
    incumbent: Mapping[str, float],
    queries: Sequence[str],
    groups: Mapping[str, int],
) -> Difference:
    """Return the difference of two models on some queries, with a standard error clustered by group.

    The error is that of a ratio estimator: groups, not queries, are the independent draws.

    Args:
        challenger: Query id -> nDCG@10.
        incumbent: Query id -> nDCG@10.
        queries: The queries that count.
        groups: Query id -> group number.

    Raises:
        DataError: A model lacks a score of one of the queries.
    """
    missing = [query for query in queries if query not in challenger or query not in incumbent]
    if missing:
        raise DataError(f"query '{missing[0]}' ({len(missing)} in all) has no score; score both models on all of dev")
    _, member = np.unique([groups[query] for query in queries], return_inverse=True)
    values = np.array([challenger[query] - incumbent[query] for query in queries])
    sums: Floats = np.bincount(member, weights=values).astype(np.float64)
    sizes = np.bincount(member)
    mean, count = float(values.mean()), len(sums)
    if count < 2:
        return Difference(mean=mean, error=math.inf, sums=sums, queries=len(queries))
    spread = float(((sums - mean * sizes) ** 2).sum())
    error = math.sqrt(spread * count / (count - 1)) / len(queries)
    return Difference(mean=mean, error=error, sums=sums, queries=len(queries))


def sign_flip_p_value(sums: Floats, *, samples: int = 10_000, seed: int = 0) -> float:
    """Return the one-sided p-value of "no gain" by flipping the signs of groups (Fisher 1935; Smucker et al. 2007).

    Exact up to ``EXACT_GROUPS`` groups that differ; beyond, drawn, with the observed pattern counted as one draw, so
    that the p-value is never 0 and the test never too liberal (Phipson and Smyth 2010).

    Args:
        sums: Sum of the differences of each group, ``[groups]``.
        samples: Patterns drawn.
        seed: Seed of the draws.
    """
    changed = sums[sums != 0]
    observed = changed.sum()
    if not len(changed):
        return 1.0
    if len(changed) <= EXACT_GROUPS:
        patterns = (np.arange(2 ** len(changed))[:, None] >> np.arange(len(changed))) & 1
        return float(((2 * patterns - 1) @ changed >= observed - TIE).mean())
    reached = sum(int((signs @ changed >= observed - TIE).sum()) for signs in _signs(len(changed), samples, seed))
    return (1 + reached) / (1 + samples)


def smallest_p_value(groups: int, *, samples: int = 10_000) -> float:
    """Return the smallest p-value that :func:`sign_flip_p_value` can give: that of a gain in every group.

    Args:
        groups: Groups of queries.
        samples: Patterns drawn.
    """
    return 0.5**groups if groups <= EXACT_GROUPS else 1 / (1 + samples)


def _signs(groups: int, samples: int, seed: int) -> Iterator[Floats]:
    random = np.random.default_rng(seed)
    for begin in range(0, samples, CHUNK):
        count = min(CHUNK, samples - begin)
        yield random.choice(np.array([-1.0, 1.0]), (count, groups))
