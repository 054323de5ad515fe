"""Ways through the space of merge weights; each asks a score function about one weighting after another.

What a strategy asks about is kept by whoever gave it the function, so the same strategies walk over the
surrogate, which costs a millisecond, and over real encodes.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

import numpy as np

from stm_agent.errors import ConfigError

Weights = tuple[float, ...]
Score = Callable[[Weights], float]
StrategyName = Literal["random", "grid", "cma", "tpe", "greedy"]
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
HIGHEST = 1.2
"""Weight of one expert, at most; above 1 it goes beyond the expert, as task arithmetic may."""


class Strategy(Protocol):
    """A walk through the weightings of some experts."""

    def __call__(self, score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
        """Ask about ``budget`` weightings, at most."""
        ...


def walk(name: StrategyName, score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Search with a strategy by its name.

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


def simplex(experts: int, step: float) -> list[Weights]:
    """Return all weightings of multiples of ``step`` that sum to 1, STM's grid where every expert counts."""
    parts = round(1 / step)
    cuts = itertools.combinations(range(parts + experts - 1), experts - 1)
    counts = (np.diff([-1, *cut, parts + experts - 1]) - 1 for cut in cuts)
    return [tuple((np.asarray(count) / parts).round(4).tolist()) for count in counts]


def walk_grid(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Ask about STM's grid; a seeded part of it where it is larger than the budget."""
    if math.comb(round(1 / step) + experts - 1, experts - 1) <= 100 * budget:
        points = simplex(experts, step)
        order = np.random.default_rng(seed).permutation(len(points))[:budget]
        for number in sorted(order.tolist()):
            score(points[number])
    else:
        draw(score, experts, budget=budget, step=step, seed=seed)


def draw(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Ask about a grid with sums of 0.5 to 1.5 where it is small enough, else about seeded draws of sums 0.7 to 1.3."""
    ticks = np.round(np.arange(0, 1 + step / 2, step), 4).tolist()
    if len(ticks) ** experts <= 4 * budget:
        points = [point for point in itertools.product(ticks, repeat=experts) if 0.5 <= sum(point) <= 1.5]
    else:
        draws = np.random.default_rng(seed)
        shares = draws.dirichlet(np.ones(experts), budget) * draws.uniform(0.7, 1.3, (budget, 1))
        points = [tuple(np.round(row, 4).tolist()) for row in shares]
    for point in points:
        score(point)


def evolve(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Ask where CMA-ES looks (Hansen 2016, arXiv 1604.00772), from the uniform mean on."""
    if experts == 1:
        # CMA-ES needs two dimensions.
        draw(score, experts, budget=budget, step=step, seed=seed)
        return
    with warnings.catch_warnings():
        # It misses matplotlib, for plots nobody asked for.
        warnings.simplefilter("ignore", UserWarning)
        import cma
    # Its seed 0 stands for the clock.
    options = {"bounds": [0, HIGHEST], "maxfevals": budget, "seed": seed + 1, "verbose": -9}
    search = cma.CMAEvolutionStrategy([1 / experts] * experts, 0.25, options)
    left = budget
    while left > 0 and not search.stop():
        points = search.ask()
        search.tell(points, [-score(_rounded(point)) for point in points])
        left -= len(points)


def estimate(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Ask where a tree-structured Parzen estimator looks (Bergstra et al. 2011), by Optuna.

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
        lambda trial: score(_rounded([trial.suggest_float(name, 0.0, HIGHEST) for name in names])), n_trials=budget
    )


def grow_soup(score: Score, experts: int, *, budget: int, step: float, seed: int) -> None:
    """Ask about the best expert, then with each next one in the soup, which stays in if it helps.

    Greedy soup (Wortsman et al. 2022, arXiv 2203.05482, recipe 1).
    """
    alone = sorted(range(experts), key=lambda number: -score(soup([number], experts)))
    chosen, best = alone[:1], score(soup(alone[:1], experts))
    for number in alone[1 : max(1, budget - experts)]:
        value = score(soup([*chosen, number], experts))
        if value > best:
            chosen, best = [*chosen, number], value


def soup(members: Sequence[int], experts: int) -> Weights:
    """Return the weights of some experts' uniform mean; of one, that expert alone."""
    return tuple(round(1 / len(members), 4) if number in members else 0.0 for number in range(experts))


def _rounded(point: Sequence[float]) -> Weights:
    return tuple(round(float(weight), 4) for weight in point)
