"""How far people, and people and an LLM, agree: raw, Cohen, Fleiss, Krippendorff, with bootstrap intervals.

Values are those of statsmodels and krippendorff. Their intervals are of the same measures on resampled items, a
thousand at once: every measure is made of sums over items, so that other items need no more than other weights, and
items that were graded alike are one row, counted. Such a measure takes ``[samples, ...]`` sums and gives NaN where it
is not defined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

SAMPLES = 1000
FEWEST = 2
"""Items that two people need in common before they are a pair."""
Grades = Mapping[str, Mapping[str, int]]
"""Item -> rater -> grade; who did not grade an item is not there."""
Floats = NDArray[np.float64]
Measure = Callable[[Floats], Floats]
Library = Callable[[Floats], float]


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


class AgreementRow(TypedDict):
    """A coefficient as JSON."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    items: int


@dataclass(frozen=True)
class Pair:
    """Cohen's kappa of two raters, and their confusion: how often ``first`` gave a grade where ``second`` gave one."""

    first: str
    second: str
    kappa: Agreement
    confusion: dict[tuple[int, int], int]


@dataclass(frozen=True)
class _Sampled:
    """The ways in which items were graded, how often each occurs, and how often in each resampled set of items."""

    ways: list[dict[str, int]]
    counts: Floats
    weights: Floats
    places: dict[int, int]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Raters with items in common, by name."""
        common: Counter[tuple[str, str]] = Counter()
        for by, count in zip(self.ways, self.counts, strict=True):
            common.update(dict.fromkeys(combinations(sorted(by), 2), int(count)))
        return sorted(pair for pair, count in common.items() if count >= FEWEST)

    def grades(self) -> Floats:
        """Return ``[ways, grades]``: how many raters gave an item a grade."""
        rows = np.zeros((len(self.ways), len(self.places)))
        for row, by in zip(rows, self.ways, strict=True):
            np.add.at(row, [self.places[grade] for grade in by.values()], 1)
        return rows

    def measured(
        self, name: str, measure: Measure, rows: Floats, counts: NDArray[np.bool_], library: Library | None = None
    ) -> Agreement:
        """Return a measure of the sums of ``rows`` over the ways that count, with its interval.

        ``library`` gives the value of ``[items, grades]`` counts where the measure is defined.
        """
        items = int(self.counts[counts].sum())
        value = measure(self.counts[None, counts] @ rows[counts])[0]
        if library is not None and not np.isnan(value):
            value = library(np.repeat(self.grades()[counts], self.counts[counts].astype(int), axis=0))
        sampled = measure(self.weights[:, counts] @ rows[counts])
        return _told(name, value, sampled, items)

    def tables(self, first: str, second: str) -> tuple[Floats, Floats]:
        """Return the table of two raters, ``[1, grades, grades]``, and those of the samples; rows are the first's."""
        size = len(self.places)
        both = [place for place, by in enumerate(self.ways) if first in by and second in by]
        rows = np.zeros((len(both), size * size))
        for row, place in zip(rows, both, strict=True):
            by = self.ways[place]
            row[self.places[by[first]] * size + self.places[by[second]]] = 1
        whole, samples = self.counts[None, both] @ rows, self.weights[:, both] @ rows
        return whole.reshape(1, size, size), samples.reshape(-1, size, size)


def _sampled(grades: Grades, seed: int) -> _Sampled:
    ways = Counter(tuple(sorted(by.items())) for by in grades.values() if len(by) > 1)
    counts = np.array(list(ways.values()), dtype=np.float64)
    items = int(counts.sum())
    draws = np.random.default_rng(seed)
    weights = draws.multinomial(items, counts / max(items, 1), size=SAMPLES) if items else np.zeros((SAMPLES, 0))
    places = {grade: place for place, grade in enumerate(sorted({grade for way in ways for _, grade in way}))}
    return _Sampled([dict(way) for way in ways], counts, weights.astype(np.float64), places)


def agreement(grades: Grades, *, seed: int = 0) -> list[Agreement]:
    """Return raw agreement, Cohen's kappa, Fleiss' kappa, and Krippendorff's alpha (ordinal).

    All are made of the items that two or more graded. Cohen's kappa is the mean over pairs of people, weighted by their
    items; Fleiss' is made of the items with the commonest number of grades, whoever gave them.
    """
    return _agreement(_sampled(grades, seed))


def _agreement(sampled: _Sampled) -> list[Agreement]:
    rows = sampled.grades()
    each = rows.sum(1)
    numbers: Counter[int] = Counter()
    for number, count in zip(each, sampled.counts, strict=True):
        numbers[int(number)] += int(count)
    commonest = max(numbers, key=lambda number: (numbers[number], number), default=0)
    alike = (rows * (rows - 1)).sum(1)
    possible = np.maximum(each * (each - 1), 1)
    every = np.ones(len(rows), dtype=bool)
    together = rows[:, :, None] * rows[:, None, :] - rows[:, :, None] * np.eye(rows.shape[1])
    paired = (together / np.maximum(each - 1, 1)[:, None, None]).reshape(len(rows), rows.shape[1] ** 2)
    return [
        sampled.measured("raw", _raw, np.stack([alike, possible], 1), every),
        _cohen_of_all(sampled),
        sampled.measured(
            "fleiss",
            _fleiss,
            np.column_stack([alike / possible, np.ones(len(rows)), rows]),
            each == commonest,
            _fleiss_of_library,
        ),
        sampled.measured("alpha", _alpha, paired, every, _alpha_of_library),
    ]


def pairs(grades: Grades, *, seed: int = 0) -> list[Pair]:
    """Return Cohen's kappa and the confusion of each two people who have two or more items in common."""
    sampled = _sampled(grades, seed)
    found = []
    for first, second in sampled.pairs:
        whole, samples = sampled.tables(first, second)
        kappa = _told("cohen", _cohen_of_library(whole[0]), _cohen(samples), int(whole.sum()))
        found.append(Pair(first, second, kappa, confusion(grades, first, second)))
    return found


def _cohen_of_all(sampled: _Sampled) -> Agreement:
    """Return the mean of the pairs' kappas, each counted as often as it has items."""
    sums = np.zeros((2, SAMPLES + 1))
    known = sampled.pairs
    for first, second in known:
        tables = np.concatenate(sampled.tables(first, second))
        kappas, items = _cohen(tables), tables.sum((1, 2))
        kappas[0] = _cohen_of_library(tables[0])
        defined = ~np.isnan(kappas)
        sums += np.stack([np.where(defined, kappas * items, 0), np.where(defined, items, 0)])
    means = _share(sums[0], sums[1])
    counted = [any({*pair} <= by.keys() for pair in known) for by in sampled.ways]
    return _told("cohen", means[0], means[1:], int(sampled.counts[np.array(counted, dtype=bool)].sum()))


def _told(name: str, value: float, sampled: Floats, items: int) -> Agreement:
    if np.isnan(value):
        return Agreement(name, None, None, None, items)
    known = sampled[~np.isnan(sampled)]
    if len(known) < SAMPLES // 2:
        return Agreement(name, float(value), None, None, items)
    low, high = np.quantile(known, (0.025, 0.975))
    return Agreement(name, float(value), float(low), float(high), items)


def _share(part: Floats, whole: Floats) -> Floats:
    """Return a quotient, NaN where nothing is divided."""
    none: Floats = np.full(len(part), np.nan)
    return np.divide(part, whole, out=none, where=whole > 0)


def _raw(sums: Floats) -> Floats:
    """Return the share of pairs of grades of one item that are the same."""
    return _share(sums[:, 0], sums[:, 1])


def _beyond_chance(observed: Floats, chance: Floats) -> Floats:
    """Return how much of what chance leaves is agreed on; with one grade alone chance would always agree."""
    left = np.where(np.isclose(chance, 1, rtol=0, atol=1e-12), 0, 1 - chance)
    return _share(observed - chance, left)


def _cohen(tables: Floats) -> Floats:
    items = tables.sum((1, 2))
    shares = tables / np.maximum(items, 1)[:, None, None]
    chance = (shares.sum(1) * shares.sum(2)).sum(1)
    return np.where(items > 0, _beyond_chance(np.trace(shares, axis1=1, axis2=2), chance), np.nan)


def _fleiss(sums: Floats) -> Floats:
    items = sums[:, 1]
    given = sums[:, 2:]
    shares = given / np.maximum(given.sum(1), 1)[:, None]
    return np.where(items > 0, _beyond_chance(sums[:, 0] / np.maximum(items, 1), (shares**2).sum(1)), np.nan)


def _alpha(sums: Floats) -> Floats:
    """Return Krippendorff's alpha; two grades are as far apart as their middle ranks among all that were given."""
    size = round(sums.shape[1] ** 0.5)
    together = sums.reshape(len(sums), size, size)
    given = together.sum(1)
    ranks = given.cumsum(1) - given / 2
    gaps = (ranks[:, :, None] - ranks[:, None, :]) ** 2
    expected = (given[:, :, None] * given[:, None, :] * gaps).sum((1, 2))
    return 1 - _share((given.sum(1) - 1) * (together * gaps).sum((1, 2)), expected)


def _cohen_of_library(table: Floats) -> float:
    """Return Cohen's kappa of two raters' table; NaN where they gave one grade alone."""
    from statsmodels.stats.inter_rater import cohens_kappa

    if np.isnan(_cohen(table[None])[0]):
        return float("nan")
    return float(cohens_kappa(table, return_results=False))


def _fleiss_of_library(counts: Floats) -> float:
    from statsmodels.stats.inter_rater import fleiss_kappa

    return float(fleiss_kappa(counts))


def _alpha_of_library(counts: Floats) -> float:
    import krippendorff

    return float(krippendorff.alpha(value_counts=counts.astype(int), level_of_measurement="ordinal"))


def confusion(grades: Grades, first: str, second: str) -> dict[tuple[int, int], int]:
    """Return how often ``first`` gave the one grade where ``second`` gave the other."""
    return dict(Counter((by[first], by[second]) for by in grades.values() if first in by and second in by))


def bias(grades: Grades, person: str, other: str) -> float | None:
    """Return by how much ``other`` grades higher than ``person``, on average."""
    gaps = [by[other] - by[person] for by in grades.values() if person in by and other in by]
    return sum(gaps) / len(gaps) if gaps else None


def told(found: Sequence[Agreement]) -> list[AgreementRow]:
    """Return coefficients as JSON."""
    return [
        {"name": one.name, "value": one.value, "low": one.low, "high": one.high, "items": one.items} for one in found
    ]
