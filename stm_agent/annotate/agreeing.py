"""How far people, and people and an LLM, agree: raw, Cohen, Fleiss, Krippendorff, with bootstrap intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 1000
Grades = Mapping[str, Mapping[str, int]]
"""Item -> rater -> grade; who did not grade an item is not there."""
Table = NDArray[np.float64]
"""``[raters, items]``, NaN where there is no grade."""


@dataclass(frozen=True)
class Agreement:
    """One coefficient.

    Attributes:
        name: ``raw``, ``cohen``, ``fleiss`` or ``alpha``.
        value: None where it is not defined: fewer than two raters, or one grade only.
        low: Lower end of the 95 % bootstrap interval over items.
        high: Upper end.
        items: Items it is made of.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    items: int


def agreement(grades: Grades, *, seed: int = 0) -> list[Agreement]:
    """Return raw agreement, Cohen's kappa (two raters), Fleiss' kappa, and Krippendorff's alpha (ordinal).

    Fleiss' kappa is made of the items that all raters graded, the others of all that two or more did.
    """
    raters = sorted({rater for by in grades.values() for rater in by})
    items = [by for by in grades.values() if len(by) > 1]
    table = np.array([[by.get(rater, np.nan) for by in items] for rater in raters], dtype=np.float64)
    table = table.reshape(len(raters), len(items))
    whole = table[:, ~np.isnan(table).any(axis=0)]
    measures: list[tuple[str, Callable[[Table], float | None], Table]] = [
        ("raw", _raw, table),
        ("cohen", _cohen, whole if len(raters) == 2 else table[:, :0]),
        ("fleiss", _fleiss, whole),
        ("alpha", _alpha, table),
    ]
    return [_measured(name, measure, data, seed) for name, measure, data in measures]


def _measured(name: str, measure: Callable[[Table], float | None], table: Table, seed: int) -> Agreement:
    items = table.shape[1]
    if table.shape[0] < 2 or not items:
        return Agreement(name, None, None, None, items)
    value = measure(table)
    draws = np.random.default_rng(seed)
    resampled = [measure(table[:, draws.integers(0, items, items)]) for _ in range(SAMPLES)]
    known = [one for one in resampled if one is not None]
    if value is None or len(known) < SAMPLES // 2:
        return Agreement(name, value, None, None, items)
    low, high = np.quantile(known, (0.025, 0.975))
    return Agreement(name, value, float(low), float(high), items)


def _raw(table: Table) -> float | None:
    """Return the share of pairs of raters that gave an item the same grade."""
    same = pairs = 0
    for first in range(len(table)):
        for second in range(first + 1, len(table)):
            both = ~np.isnan(table[first]) & ~np.isnan(table[second])
            pairs += int(both.sum())
            same += int((table[first, both] == table[second, both]).sum())
    return same / pairs if pairs else None


def _cohen(table: Table) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    if len(np.unique(table)) < 2:
        return None
    return float(cohen_kappa_score(table[0].astype(int), table[1].astype(int)))


def _fleiss(table: Table) -> float | None:
    from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

    if len(np.unique(table)) < 2:
        return None
    counts, _ = aggregate_raters(table.T.astype(int))
    return float(fleiss_kappa(counts))


def _alpha(table: Table) -> float | None:
    import krippendorff

    known = table[~np.isnan(table)]
    if len(np.unique(known)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal"))


def confusion(grades: Grades, first: str, second: str) -> dict[tuple[int, int], int]:
    """Return how often ``first`` gave the one grade where ``second`` gave the other."""
    counts: dict[tuple[int, int], int] = {}
    for by in grades.values():
        if first in by and second in by:
            pair = (by[first], by[second])
            counts[pair] = counts.get(pair, 0) + 1
    return counts


def bias(grades: Grades, person: str, other: str) -> float | None:
    """Return by how much ``other`` grades higher than ``person``, on average."""
    gaps = [by[other] - by[person] for by in grades.values() if person in by and other in by]
    return sum(gaps) / len(gaps) if gaps else None


def told(found: Sequence[Agreement]) -> list[dict[str, Any]]:
    """Return coefficients as JSON."""
    return [vars(one) for one in found]
