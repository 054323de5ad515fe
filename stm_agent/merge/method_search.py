"""Search of the merges that no surrogate estimates (TIES, DARE, SLERP, ...): each is built and encoded.

Seeds come first: uniform weights at a few densities, as a user without a search would choose them. What is left of the
budget goes to changes of the best merge so far.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from stm_agent.domain.merge_spec import MergeSpec, MethodName
from stm_agent.evaluate.significance import paired_bootstrap
from stm_agent.merge.recipe import SUM, MethodOptions
from stm_agent.merge.strategies import MergeWeights, as_mean, soup
from stm_agent.merge.verifying import Rated, Verified

R = TypeVar("R", bound=Rated)
Merge = tuple[MergeWeights, MethodOptions]
"""What is merged how."""
NARROWER, WIDER = 0.7, 1.4
"""Factors on the density of the best merge."""
SPREAD = 0.3
"""Standard deviation of the logarithm of random factors on weights and densities."""
THINNEST = 0.05
"""Smallest density that is proposed."""
DRAWS = 50
"""Random changes that are drawn in a row before the search gives up finding one that was not tried yet."""


@dataclass(frozen=True, kw_only=True)
class Chosen(Generic[R]):
    """The merge that a search ends with.

    Attributes:
        weights: One for each expert.
        method: How they are merged.
        rating: Real scores.
        allowed: Whether it keeps the guard.
    """

    weights: MergeWeights
    method: MethodOptions
    rating: R
    allowed: bool


def try_method(
    method: MethodName,
    starts: Sequence[MergeWeights],
    rate: Callable[[MergeWeights, MethodOptions], R],
    *,
    spec: MergeSpec,
    floor: float,
    seed: int,
) -> dict[Merge, R]:
    """Build and encode ``spec.verify`` merges of one method; return their scores.

    Args:
        method: A method other than a sum.
        starts: Weightings to begin from, the uniform one first.
        rate: Builds a merge and scores it on the search half.
        spec: Densities and scales to try, and how many merges.
        floor: Least general nDCG@10; merges below it are not built upon if another one keeps it.
        seed: Seed of dare and of random changes.
    """
    means = list(dict.fromkeys(as_mean(weights) for weights in starts))
    plain = MethodOptions(method=method, seed=seed, density=spec.densities[0])
    densities = spec.densities if plain.is_sparse else spec.densities[:1]
    seeds = [(means[0], plain.model_copy(update={"density": density})) for density in densities]
    if not plain.is_sparse:
        seeds += [(weights, plain) for weights in means[1:]]
    tried = {merge: rate(*merge) for merge in seeds[: spec.verify]}
    draws = np.random.default_rng(seed)
    while len(tried) < spec.verify:
        best = max(tried, key=lambda merge: _order(tried[merge], floor))
        changes = itertools.chain(_changes(best, means, spec), _random_changes(best, draws))
        change = next((merge for merge in changes if merge not in tried), None)
        if change is None:
            break
        tried[change] = rate(*change)
    return tried


def _order(rating: Rated, floor: float) -> tuple[bool, float]:
    return rating.general >= floor, rating.domain.ndcg_at_10


def _changes(best: Merge, means: Sequence[MergeWeights], spec: MergeSpec) -> Iterator[Merge]:
    """Yield the best merge with other weights, another length and another density, one at a time."""
    weights, options = best
    yield from ((other, options) for other in means)
    for scale in sorted((1.0, *spec.scales), key=lambda scale: (abs(math.log(scale / options.scale)), scale)):
        yield weights, options.model_copy(update={"scale": scale})
    if options.is_sparse and isinstance(options.density, float):
        for factor in (NARROWER, WIDER):
            yield weights, options.model_copy(update={"density": _share(options.density * factor)})


def _random_changes(best: Merge, draws: np.random.Generator) -> Iterator[Merge]:
    """Yield seeded random changes of weights and, where they count, of a density of each expert's own."""
    weights, options = best
    experts = len(weights)
    density = options.density if isinstance(options.density, tuple) else (options.density,) * experts
    for _ in range(DRAWS):
        factors = np.exp(draws.normal(0.0, SPREAD, (2, experts))).tolist()
        drawn = as_mean(tuple(weight * factor for weight, factor in zip(weights, factors[0], strict=True)))
        shares = tuple(_share(share * factor) for share, factor in zip(density, factors[1], strict=True))
        yield drawn, options.model_copy(update={"density": shares}) if options.is_sparse else options


def _share(value: float) -> float:
    return round(min(max(value, THINNEST), 1.0), 3)


def starts_of(mixtures: Sequence[MergeWeights], ranking: Sequence[int]) -> list[MergeWeights]:
    """Return the weightings that a method begins from: all experts, the best two, and the best mixtures.

    Args:
        mixtures: Weightings of sums, the best first; those of a single expert do not count.
        ranking: The experts' numbers, best single score first.
    """
    experts = len(ranking)
    mixed = [weights for weights in mixtures if sum(weight > 0 for weight in weights) > 1]
    return [soup(range(experts), experts), soup(ranking[:2], experts), *mixed[:1]]


def choose(best: Verified[R], tried: dict[Merge, R], floor: float) -> Chosen[R]:
    """Return the best sum, or the merge by another method that beats it beyond doubt.

    Like fitted weights, another method is one of many that competed on a few hundred queries, so it has to show its
    lead in a paired bootstrap.

    Args:
        best: The best sum, or the best expert alone.
        tried: Merges by other methods.
        floor: Least general nDCG@10; if no merge reaches it, the one that forgets least wins.
    """
    summed = Chosen(weights=best.weights, method=SUM, rating=best.rating, allowed=best.allowed)
    ranked = sorted(tried.items(), key=lambda entry: -entry[1].domain.ndcg_at_10)
    others = [
        Chosen(weights=weights, method=options, rating=rating, allowed=rating.general >= floor)
        for (weights, options), rating in ranked
    ]
    allowed = [other for other in others if other.allowed]
    if not best.allowed:
        return allowed[0] if allowed else max([summed, *others], key=lambda merge: merge.rating.general)
    for other in allowed:
        if paired_bootstrap(other.rating.domain.per_query, best.rating.domain.per_query).low > 0:
            return other
    return summed
