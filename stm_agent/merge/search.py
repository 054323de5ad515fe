"""Merge weights: thousands of weightings by a surrogate, the best few by real encodes.

The surrogate's rank correlation with the real scores of the verified points is reported; where it is bad the search
says so and goes on with real encodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.significance import paired_bootstrap
from stm_agent.merge.strategies import StrategyName, Weights, grow_soup, soup, walk
from stm_agent.merge.surrogate import Surrogate, Task

BAD = 0.5
LIMIT = 400
NEIGHBOUR = 0.15
"""Largest difference of a weight up to which two merges are too alike to be both built."""
MANY = 8
"""Experts up to which every subset's mean is tried."""


@dataclass(frozen=True)
class Candidate:
    """A weighting and what the surrogate gives it: nDCG@10 on the domain, and the mean over the guards."""

    weights: Weights
    domain: float
    general: float


class Rated(Protocol):
    """Real dev scores of a merge."""

    @property
    def domain(self) -> Scores:
        """Scores on the domain's dev split."""
        ...

    @property
    def general(self) -> float:
        """Mean nDCG@10 over the guards."""
        ...


R = TypeVar("R", bound=Rated)


@dataclass(frozen=True)
class Verified(Generic[R]):
    """The chosen weighting.

    Attributes:
        weights: One for each expert.
        rating: Its real scores.
        rank_correlation: Spearman between surrogate and real over the verified mixtures; None below three. Of an expert
            alone the surrogate knows the score.
        surrogate_is_bad: Whether that correlation is too low to trust the surrogate.
        allowed: Whether the weighting keeps the guard; where none does, it is the one that forgets least.
    """

    weights: Weights
    rating: R
    rank_correlation: float | None
    surrogate_is_bad: bool
    allowed: bool


def corners(experts: int) -> list[Weights]:
    """Return each expert alone."""
    return [soup([number], experts) for number in range(experts)]


def soups(experts: int) -> list[Weights]:
    """Return the uniform mean of every set of two or more experts (of all experts alone where sets are too many)."""
    sizes = range(2, experts + 1) if experts <= MANY else [experts]
    return [soup(chosen, experts) for size in sizes for chosen in itertools.combinations(range(experts), size)]


def search(
    domain: Task,
    guards: Sequence[Task],
    *,
    strategy: StrategyName = "random",
    budget: int = LIMIT,
    step: float,
    seed: int,
    surrogate: Surrogate | None = None,
) -> list[Candidate]:
    """Score weightings by the surrogate, best on the domain first.

    Each expert alone and the uniform means are always among them. The sum need not be 1: a sum above 1 goes on in
    the direction of the experts, as task arithmetic does. ``surrogate`` is the domain's, where it is to learn later on.
    """
    experts = len(domain.query_vectors) - 1
    surrogate, others = surrogate or Surrogate(domain), [Surrogate(guard) for guard in guards]
    asked: dict[Weights, float] = {}

    def ask(weights: Weights) -> float:
        if weights not in asked:
            asked[weights] = surrogate.score(weights)
        return asked[weights]

    for weights in (*corners(experts), *soups(experts)):
        ask(weights)
    walk(strategy, ask, experts, budget=budget, step=step, seed=seed)
    found = [
        Candidate(weights, value, _mean([other.score(weights) for other in others])) for weights, value in asked.items()
    ]
    return sorted(found, key=lambda candidate: (-candidate.domain, candidate.weights))


def rescored(candidates: Sequence[Candidate], surrogate: Surrogate) -> list[Candidate]:
    """Return the candidates as a surrogate that has learnt sees them, best on the domain first."""
    found = [replace(candidate, domain=surrogate.score(candidate.weights)) for candidate in candidates]
    return sorted(found, key=lambda candidate: (-candidate.domain, candidate.weights))


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other beats on domain and general at once, best on the domain first."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda point: (-point.domain, -point.general, point.weights)):
        if not kept or candidate.general > kept[-1].general:
            kept.append(candidate)
    return kept


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def verify(
    candidates: Sequence[Candidate],
    build_and_rate: Callable[[Weights], R],
    *,
    floor: float,
    count: int,
    learn: Callable[[Weights], Sequence[Candidate]] | None = None,
) -> Verified[R]:
    """Rate the best candidates and every expert alone for real; return the best that keeps the guard.

    Hundreds of weightings compete on a few hundred dev queries, so the winner's lead is partly luck: a free
    weighting takes the place of the best expert or uniform soup only where a paired test says so.

    Args:
        candidates: From :func:`search`, best first.
        build_and_rate: Builds a real merge and scores it.
        floor: Least general nDCG@10; where no point reaches it, the one that forgets least wins.
        count: Candidates to verify beside the experts alone; more where the surrogate turns out to be no guide.
        learn: Is told of every merge that was built, and returns the candidates as they look after it.
    """
    single = set(corners(len(candidates[0].weights)))
    tried = [(one, build_and_rate(one.weights)) for one in candidates if one.weights in single]
    for number in range(count):
        mixed = [one for one in candidates if one.weights not in single]
        following = _next(mixed, [one.weights for one, _ in tried], floor, simple=number % 2 == 0)
        if following is None:
            break
        tried.append((following, build_and_rate(following.weights)))
        if learn is not None:
            candidates = learn(following.weights)
    correlation = _correlation([pair for pair in tried if pair[0].weights not in single])
    bad = correlation is not None and correlation < BAD
    if bad:
        tried += _go_on(tried, build_and_rate)
    allowed = [pair for pair in tried if pair[1].general >= floor]
    best, rating = _choose(allowed) if allowed else max(tried, key=lambda pair: (pair[1].general, pair[0].weights))
    return Verified(best.weights, rating, correlation, bad, bool(allowed))


def _go_on(tried: Sequence[tuple[Candidate, R]], build_and_rate: Callable[[Weights], R]) -> list[tuple[Candidate, R]]:
    """Grow a soup on real scores, the surrogate being no guide: one encode more for each expert, at most."""
    rated = {candidate.weights: rating for candidate, rating in tried}
    known = set(rated)

    def real(weights: Weights) -> float:
        if weights not in rated:
            rated[weights] = build_and_rate(weights)
        return rated[weights].domain.ndcg_at_10

    experts = len(tried[0][0].weights)
    grow_soup(real, experts, budget=2 * experts, step=1.0, seed=0)
    return [
        (Candidate(weights, rating.domain.ndcg_at_10, rating.general), rating)
        for weights, rating in rated.items()
        if weights not in known
    ]


def _is_simple(candidate: Candidate) -> bool:
    """Whether a candidate is one expert or a uniform mean: nothing about it was fitted but who is in it."""
    shares = {weight for weight in candidate.weights if weight}
    return len(shares) == 1 and abs(sum(candidate.weights) - 1) < 1e-3


def _choose(allowed: Sequence[tuple[Candidate, R]]) -> tuple[Candidate, R]:
    ranked = sorted(allowed, key=lambda pair: (pair[1].domain.ndcg_at_10, pair[0].weights), reverse=True)
    best = next((pair for pair in ranked if _is_simple(pair[0])), ranked[0])
    for pair in ranked:
        if paired_bootstrap(pair[1].domain.per_query, best[1].domain.per_query).low > 0:
            return pair
    return best


def _next(mixed: Sequence[Candidate], taken: Sequence[Weights], floor: float, *, simple: bool) -> Candidate | None:
    """Return the best mixture that is no neighbour of one taken: a uniform mean where ``simple``, else a free one."""
    likely = [one for one in mixed if one.general >= floor] or mixed
    far = [one for one in likely if all(_distance(one.weights, other) > NEIGHBOUR for other in taken)]
    return next((one for one in far if _is_simple(one) == simple), far[0] if far else None)


def _distance(one: Weights, other: Weights) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _correlation(tried: Sequence[tuple[Candidate, R]]) -> float | None:
    if len(tried) < 3:
        return None
    from scipy.stats import spearmanr

    guesses = [candidate.domain for candidate, _ in tried]
    real = [rating.domain.ndcg_at_10 for _, rating in tried]
    if len(set(guesses)) == 1 or len(set(real)) == 1:
        return None
    return float(spearmanr(guesses, real).statistic)
