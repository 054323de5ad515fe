"""Search of the merge weights: the surrogate scores hundreds of weightings without encoding a text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.merge_spec import MethodName
from stm_agent.merge.bagging import bagged
from stm_agent.merge.recipe import SUM, MethodOptions
from stm_agent.merge.strategies import (
    MergeWeights,
    Score,
    StrategyName,
    as_mean,
    corners,
    scaled,
    soup,
    soups,
    walk,
)
from stm_agent.merge.surrogate import Surrogate, Task

LIMIT = 400
"""Weightings that a strategy scores on the surrogate, at most, unless the caller says otherwise."""
SUMS: tuple[MethodName, ...] = ("linear", "task-arithmetic")
"""Methods that add deltas, which the surrogate can estimate."""
SCALES = (0.25, 0.5, 0.75, 1.25)
"""Factors on the best weightings unless the caller says otherwise."""
SCALED = 24
"""Number of the best weightings that are scored with each factor too."""


def encoded_methods(methods: Sequence[MethodName]) -> list[MethodName]:
    """Return the methods whose merges must be built and encoded, since the surrogate cannot estimate them."""
    return [method for method in dict.fromkeys(methods) if method not in SUMS]


@dataclass(frozen=True)
class Candidate:
    """A weighting with the surrogate's guess of nDCG@10 on the domain, and of the mean over the guards.

    Points of a front may be merges by other methods, with real scores. ``bagged`` marks the mean of the weightings that
    win on bootstrap samples.
    """

    weights: MergeWeights
    domain: float
    general: float
    method: MethodOptions = SUM
    bagged: bool = False


def search(
    domain: Task,
    guards: Sequence[Task],
    *,
    strategy: StrategyName = "random",
    budget: int = LIMIT,
    step: float,
    seed: int,
    methods: Sequence[MethodName] = ("linear",),
    scales: Sequence[float] = SCALES,
    surrogate: Surrogate | None = None,
    floor: float = -math.inf,
) -> list[Candidate]:
    """Score weightings of sums with the surrogate; return them with the best on the domain first.

    Each expert alone and the uniform :func:`~stm_agent.merge.strategies.soups` are always included. With ``linear``
    the strategy chooses means, of sum 1, with ``task-arithmetic`` sums of any size; two methods share the budget. The
    best are also scored times each factor: below 1 the rest belongs to the start, one more expert (WiSE-FT, Wortsman et
    al. 2022, arXiv 2109.01903). The mean of the winners (:mod:`stm_agent.merge.bagging`) is one of the candidates.

    Args:
        domain: Vectors of base and experts on the domain's dev split.
        guards: The same for each guard task.
        strategy: How the other weightings are chosen.
        budget: Weightings that the strategy may score.
        step: Grid width of the weights.
        seed: Seed of the strategy.
        methods: Methods to search; without one of :data:`SUMS` only the experts alone are scored.
        scales: Factors on the best weightings.
        surrogate: The domain's surrogate, if it is to learn from real merges later.
        floor: Least general nDCG@10 of the weightings that are averaged.
    """
    tried = _Tried(surrogate or Surrogate(domain), [Surrogate(guard) for guard in guards])
    experts = len(domain.query_vectors) - 1
    ranking = sorted(range(experts), key=lambda number: -tried.score(corners(experts)[number]))
    sums = [method for method in SUMS if method in methods]
    if not sums:
        return tried.candidates()
    for weights in soups(experts, ranking):
        tried.score(weights)
    for method in sums:
        score: Score = tried.score if method == "task-arithmetic" else lambda weights: tried.score(as_mean(weights))
        walk(strategy, score, experts, budget=max(budget // len(sums), 1), step=step, seed=seed)
    for weights, factor in itertools.product(_directions(tried.scores), scales):
        tried.score(scaled(weights, factor))
    return _with_mean(tried, floor, seed)


def _with_mean(tried: _Tried, floor: float, seed: int) -> list[Candidate]:
    """Return what was tried and the bagged mean of the weightings that keep the guard, the best on the domain first."""
    candidates = tried.candidates()
    allowed = [candidate.weights for candidate in candidates if candidate.general >= floor]
    if not allowed:
        return candidates
    weights = bagged({weights: tried.per_query[weights] for weights in allowed}, seed=seed)
    mean = replace(tried.candidate(weights), bagged=True)
    return sorted([mean, *(candidate for candidate in candidates if candidate.weights != weights)], key=_by_domain)


class _Tried:
    """Weightings that the surrogate has scored, each once."""

    def __init__(self, surrogate: Surrogate, guards: Sequence[Surrogate]) -> None:
        self.per_query: dict[MergeWeights, NDArray[np.float64]] = {}
        self.scores: dict[MergeWeights, float] = {}
        self._surrogate, self._guards = surrogate, guards

    def score(self, weights: MergeWeights) -> float:
        if weights not in self.scores:
            self.per_query[weights] = self._surrogate.per_query(weights)
            self.scores[weights] = float(np.mean(self.per_query[weights]))
        return self.scores[weights]

    def candidate(self, weights: MergeWeights) -> Candidate:
        return Candidate(weights, self.score(weights), _mean([guard.score(weights) for guard in self._guards]))

    def candidates(self) -> list[Candidate]:
        """Return all of them, the best on the domain first."""
        return sorted(map(self.candidate, self.scores), key=_by_domain)


def _directions(scores: Mapping[MergeWeights, float]) -> list[MergeWeights]:
    """Return the weightings to score with each factor: every expert alone, the soup of all, and the best."""
    experts = len(next(iter(scores)))
    best = sorted(scores, key=lambda weights: (-scores[weights], weights))[:SCALED]
    return list(dict.fromkeys([*corners(experts), soup(range(experts), experts), *best]))


def rescored(candidates: Sequence[Candidate], surrogate: Surrogate) -> list[Candidate]:
    """Return the candidates with new guesses of a surrogate that has learnt, the best on the domain first."""
    return sorted(
        (replace(candidate, domain=surrogate.score(candidate.weights)) for candidate in candidates), key=_by_domain
    )


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other beats on domain and general at once, the best on the domain first."""
    best: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda point: (-point.domain, -point.general, point.weights)):
        if not best or candidate.general > best[-1].general:
            best.append(candidate)
    return best


def _by_domain(candidate: Candidate) -> tuple[float, MergeWeights]:
    return -candidate.domain, candidate.weights


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
