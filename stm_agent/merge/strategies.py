"""Strategies that search the space of merge weights; each calls a score function with one weighting after another.

The caller's function records what it was called with, so the same strategies work on the surrogate, which costs a
millisecond a call, and on real encodes.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

import numpy as np

from stm_agent.errors import ConfigError

MergeWeights = tuple[float, ...]
"""One weight for each expert."""
Score = Callable[[MergeWeights], float]
StrategyName = Literal["random", "grid", "cma", "tpe", "greedy"]
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
HIGHEST = 1.2
"""Largest weight of one expert; above 1 the merge extrapolates beyond the expert, as task arithmetic may."""
SUMS = (0.25, 1.5)
"""Smallest and largest sum of the weights of seeded draws; below 1 the start keeps a share."""
EVERY_SUBSET = 8
"""Number of experts up to which the mean of every subset is tried (247 subsets of 8)."""
EVERY_PAIR = 24
"""Number of experts up to which the mean of every pair is tried (276 pairs of 24)."""


class Strategy(Protocol):
    """A search over the weightings of some experts."""

    def __call__(self, score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
        """Call ``score`` with at most ``budget`` weightings."""
        ...


def walk(name: StrategyName, score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Search with the named strategy.

    Raises:
        ConfigError: The strategy's package is not installed.
    """
    strategies: dict[StrategyName, Strategy] = {
        "random": draw,
        "grid": walk_grid,
        "cma": evolve,
        "tpe": estimate,
        "greedy": grow_soup,
    }
    strategies[name](score, experts, budget=budget, step=step, seed=seed)


def walk_grid(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Score STM's grid, or a seeded sample of it if it is larger than the budget.

    Every expert has each multiple of ``step`` from 0 to 1, whatever the sum (arXiv 2602.04731; section 4.3 states 0 to
    0.9, figure 5 shows 1.0).
    """
    ticks = _ticks(step)
    if len(ticks) ** experts <= budget + 1:
        points = list(itertools.product(ticks, repeat=experts))
    else:
        drawn = np.random.default_rng(seed).integers(0, len(ticks), (budget, experts))
        points = list(dict.fromkeys(tuple(ticks[number] for number in row) for row in drawn.tolist()))
    for point in points:
        if any(point):
            score(point)


def _ticks(step: float) -> list[float]:
    return [round(number * step, 4) for number in range(math.floor(1 / step + 1e-9) + 1)]


def draw(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Score a grid with sums of 0.25 to 1.5; if that is too large, seeded draws with such sums."""
    ticks = _ticks(step)
    low, high = SUMS
    if len(ticks) ** experts <= 4 * budget:
        points = [point for point in itertools.product(ticks, repeat=experts) if low <= sum(point) <= high]
    else:
        draws = np.random.default_rng(seed)
        shares = draws.dirichlet(np.ones(experts), budget) * draws.uniform(low, high, (budget, 1))
        points = [rounded(row) for row in shares.tolist()]
    for point in points:
        score(point)


def evolve(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Score what CMA-ES proposes (Hansen 2016, arXiv 1604.00772), starting at the uniform mean."""
    if experts == 1:
        # CMA-ES needs two dimensions.
        draw(score, experts, budget=budget, step=step, seed=seed)
        return
    with warnings.catch_warnings():
        # cma warns if matplotlib is missing, which only its plots need.
        warnings.simplefilter("ignore", UserWarning)
        import cma
    # In cma, seed 0 means the time of day.
    options = {"bounds": [0, HIGHEST], "maxfevals": budget, "seed": seed + 1, "verbose": -9}
    search = cma.CMAEvolutionStrategy([1 / experts] * experts, 0.25, options)
    remaining = budget
    while remaining > 0 and not search.stop():
        points = search.ask()
        search.tell(points, [-score(rounded(point)) for point in points])
        remaining -= len(points)


def estimate(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Score what Optuna's tree-structured Parzen estimator proposes (Bergstra et al. 2011).

    Raises:
        ConfigError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("merge search 'tpe' needs Optuna: python -m pip install 'stm-agent[optuna]'") from error

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    names = [f"w{number}" for number in range(experts)]
    study.enqueue_trial(dict.fromkeys(names, 1 / experts))
    study.optimize(
        lambda trial: score(rounded([trial.suggest_float(name, 0.0, HIGHEST) for name in names])), n_trials=budget
    )


def grow_soup(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Add the experts to a uniform soup, best first; keep each one that raises the score.

    Greedy soup (Wortsman et al. 2022, arXiv 2203.05482, recipe 1).
    """
    ranking = sorted(range(experts), key=lambda number: -score(soup([number], experts)))
    chosen, best = ranking[:1], score(soup(ranking[:1], experts))
    for number in ranking[1 : max(1, budget - experts)]:
        value = score(soup([*chosen, number], experts))
        if value > best:
            chosen, best = [*chosen, number], value


def corners(experts: int) -> list[MergeWeights]:
    """Return the weighting of each expert alone."""
    return [soup([number], experts) for number in range(experts)]


def soups(experts: int, ranking: Sequence[int] | None = None) -> list[MergeWeights]:
    """Return the uniform means to try: of every subset of two or more, for up to :data:`EVERY_SUBSET` experts.

    For more experts: every subset of the best ones, every pair of up to :data:`EVERY_PAIR`, the best ``k`` for each
    ``k``, and all but one. Adding an expert never makes the list shorter.

    Args:
        experts: Number of experts.
        ranking: Their numbers, best single score first; None: as they are numbered.
    """
    order = list(range(experts)) if ranking is None else list(ranking)
    best = sorted(order[:EVERY_SUBSET])
    subsets = [members for size in range(2, len(best) + 1) for members in itertools.combinations(best, size)]
    if experts > EVERY_SUBSET:
        numbers = range(experts)
        subsets += itertools.combinations(sorted(order[:EVERY_PAIR]), 2)
        subsets += [tuple(sorted(order[:size])) for size in range(EVERY_SUBSET + 1, experts + 1)]
        subsets += [tuple(number for number in numbers if number != left_out) for left_out in numbers]
    return [soup(members, experts) for members in dict.fromkeys(subsets)]


def soup(members: Sequence[int], experts: int) -> MergeWeights:
    """Return the weights of the uniform mean of ``members``; for one member, that expert alone."""
    return tuple(round(1 / len(members), 4) if number in members else 0.0 for number in range(experts))


def is_uniform(weights: MergeWeights) -> bool:
    """Return whether a weighting is one expert or a uniform mean, so that only its members were chosen."""
    members = [number for number, weight in enumerate(weights) if weight]
    return bool(members) and weights == soup(members, len(weights))


def scaled(weights: MergeWeights, factor: float) -> MergeWeights:
    """Return a weighting times a factor; below 1 its merge lies between the start and the merge of ``weights``."""
    return rounded([weight * factor for weight in weights])


def as_mean(weights: MergeWeights) -> MergeWeights:
    """Return a weighting with the sum 1, as mergekit's ``linear`` reads it; all 0 stays."""
    total = sum(weights)
    return scaled(weights, 1 / total) if total else weights


def rounded(point: Sequence[float]) -> MergeWeights:
    """Return weights with the four decimals that all weightings have."""
    return tuple(round(float(weight), 4) for weight in point)
