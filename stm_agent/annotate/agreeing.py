"""How far people, and people and an LLM, agree: raw, Cohen, Fleiss, Krippendorff, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 1000
Grades = Mapping[str, Mapping[str, int]]
"""Item -> rater -> grade; who did not grade an item is not there."""
Counts = NDArray[np.int64]
"""``[items, grades]``: how many raters gave an item a grade; for Cohen's kappa each item's one cell of their table."""


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
    places = {grade: place for place, grade in enumerate(sorted({grade for by in items for grade in by.values()}))}
    counts = np.zeros((len(items), len(places)), dtype=np.int64)
    for item, by in enumerate(items):
        np.add.at(counts[item], [places[grade] for grade in by.values()], 1)
    cells = np.zeros((len(items) if len(raters) == 2 else 0, len(places) ** 2), dtype=np.int64)
    for item in range(len(cells)):
        first, second = (places[items[item][rater]] for rater in raters)
        cells[item, first * len(places) + second] = 1
    measures: list[tuple[str, Callable[[Counts], float | None], Counts]] = [
        ("raw", _raw, counts),
        ("cohen", _cohen, cells),
        ("fleiss", _fleiss, counts[counts.sum(1) == len(raters)]),
        ("alpha", _alpha, counts),
    ]
    return [_measured(name, measure, data, seed) for name, measure, data in measures]


def _measured(name: str, measure: Callable[[Counts], float | None], data: Counts, seed: int) -> Agreement:
    items = len(data)
    if not items:
        return Agreement(name, None, None, None, items)
    value = measure(data)
    draws = np.random.default_rng(seed)
    resampled = [measure(data[draws.integers(0, items, items)]) for _ in range(SAMPLES)]
    known = [one for one in resampled if one is not None]
    if value is None or len(known) < SAMPLES // 2:
        return Agreement(name, value, None, None, items)
    low, high = np.quantile(known, (0.025, 0.975))
    return Agreement(name, value, float(low), float(high), items)


def _raw(counts: Counts) -> float:
    """Return the share of pairs of raters that gave an item the same grade."""
    raters = counts.sum(1)
    return float((counts * (counts - 1)).sum() / (raters * (raters - 1)).sum())


def _cohen(cells: Counts) -> float | None:
    from statsmodels.stats.inter_rater import cohens_kappa

    table = cells.sum(0)
    table = table.reshape(2 * (math.isqrt(len(table)),))
    if np.count_nonzero(table.sum(0) + table.sum(1)) < 2:
        return None
    return float(cohens_kappa(table, return_results=False))


def _fleiss(counts: Counts) -> float | None:
    from statsmodels.stats.inter_rater import fleiss_kappa

    return float(fleiss_kappa(counts)) if _differ(counts) else None


def _alpha(counts: Counts) -> float | None:
    import krippendorff

    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="ordinal")) if _differ(counts) else None


def _differ(counts: Counts) -> bool:
    """Return whether more than one grade was given; with one alone chance would always agree."""
    return bool(np.count_nonzero(counts.sum(0)) > 1)


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
