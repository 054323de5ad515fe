"""Search of the merge weights: the surrogate scores thousands of weightings, real encodes verify the best few.

Whether the surrogate ordered the verified weightings correctly is measured and reported. If it did not, the search
continues on real encodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from stm_agent.domain.merge_spec import MethodName
from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.significance import paired_bootstrap
from stm_agent.merge.agreement import Agreement, Encoded, measure_agreement
from stm_agent.merge.recipe import SUM, MethodOptions
from stm_agent.merge.strategies import (
    MergeWeights,
    Score,
    StrategyName,
    as_mean,
    corners,
    grow_soup,
    is_uniform,
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
NEIGHBOUR = 0.15
"""Largest difference of a weight up to which two weightings are too alike to encode both."""


@dataclass(frozen=True)
class Candidate:
    """A weighting with the surrogate's guess of nDCG@10 on the domain, and of the mean over the guards.

    Points of a front may be merges by other methods, with real scores.
    """

    weights: MergeWeights
    domain: float
    general: float
    method: MethodOptions = SUM


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
Verification = tuple[Candidate, R]
"""A candidate as the surrogate saw it before it was encoded, and its real scores."""


@dataclass(frozen=True, kw_only=True)
class Verified(Generic[R]):
    """The chosen weighting.

    Attributes:
        weights: One for each expert.
        rating: Its real scores.
        agreement: How the surrogate's order of the verified weightings compares with the real one.
        allowed: Whether the weighting keeps the guard; if no verified one does, the one that forgets least is chosen.
    """

    weights: MergeWeights
    rating: R
    agreement: Agreement
    allowed: bool

    @property
    def rank_correlation(self) -> float | None:
        """Spearman correlation of surrogate and real scores over the verified mixtures; None for fewer than three."""
        return self.agreement.rank_correlation

    @property
    def surrogate_is_bad(self) -> bool:
        """Whether the surrogate ordered the verified weightings too badly to be trusted."""
        return self.agreement.is_bad


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
) -> list[Candidate]:
    """Score weightings of sums with the surrogate; return them with the best on the domain first.

    Each expert alone and the uniform :func:`~stm_agent.merge.strategies.soups` are always included. With ``linear``
    the strategy chooses means, of sum 1, with ``task-arithmetic`` sums of any size; two methods share the budget. The
    best are also scored times each factor: below 1 the rest belongs to the start, which is thereby one more expert
    (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903).

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
    """
    surrogate, guard_surrogates = surrogate or Surrogate(domain), [Surrogate(guard) for guard in guards]
    scores: dict[MergeWeights, float] = {}

    def score(weights: MergeWeights) -> float:
        if weights not in scores:
            scores[weights] = surrogate.score(weights)
        return scores[weights]

    alone = corners(len(domain.query_vectors) - 1)
    ranking = sorted(range(len(alone)), key=lambda number: -score(alone[number]))
    sums = [method for method in SUMS if method in methods]
    for weights in soups(len(alone), ranking) if sums else []:
        score(weights)
    for method in sums:
        of_method: Score = score if method == "task-arithmetic" else lambda weights: score(as_mean(weights))
        walk(strategy, of_method, len(alone), budget=max(budget // len(sums), 1), step=step, seed=seed)
    for weights, factor in itertools.product(_directions(scores) if sums else [], scales):
        score(scaled(weights, factor))
    return _candidates(scores, guard_surrogates)


def _candidates(scores: Mapping[MergeWeights, float], guards: Sequence[Surrogate]) -> list[Candidate]:
    candidates = [
        Candidate(weights, value, _mean([guard.score(weights) for guard in guards]))
        for weights, value in scores.items()
    ]
    return sorted(candidates, key=_by_domain)


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


def verify(
    candidates: Sequence[Candidate],
    build_and_rate: Callable[[MergeWeights], R],
    *,
    floor: float,
    count: int,
    learn: Callable[[MergeWeights], Sequence[Candidate]] | None = None,
) -> Verified[R]:
    """Encode every expert alone and the best candidates; return the best that keeps the guard.

    Hundreds of weightings compete on a few hundred dev queries, so part of the winner's lead is luck. A weighting with
    fitted weights therefore replaces the best expert or uniform soup only if a paired test supports it.

    Args:
        candidates: From :func:`search`, best first.
        build_and_rate: Builds a real merge and scores it.
        floor: Least general nDCG@10; if no weighting reaches it, the one that forgets least wins.
        count: Candidates to encode in addition to the experts alone. If the surrogate's order turns out to be wrong, a
            soup is grown on real scores as well.
        learn: Called after every merge that was built; returns the candidates with the surrogate's new guesses.
    """
    single = set(corners(len(candidates[0].weights)))
    verified = [
        (candidate, build_and_rate(candidate.weights)) for candidate in candidates if candidate.weights in single
    ]
    guesses = {candidate.weights: candidate.general for candidate in candidates}
    for number in range(count):
        mixtures = [candidate for candidate in candidates if candidate.weights not in single]
        done = [candidate.weights for candidate, _ in verified]
        # The surrogate does not learn the guards' tasks, so a guess is held to the floor plus its largest error so far.
        optimism = max([0.0, *(guesses[entry.weights] - rating.general for entry, rating in verified)])
        candidate = _next(mixtures, done, floor + optimism, uniform=number % 2 == 0)
        if candidate is None:
            break
        verified.append((candidate, build_and_rate(candidate.weights)))
        if learn is not None:
            candidates = learn(candidate.weights)
    agreement = _agreement(verified, single)
    if agreement.is_bad:
        verified += _grow_on_real_scores(verified, build_and_rate)
    allowed = [entry for entry in verified if entry[1].general >= floor]
    best, rating = (
        _choose(allowed) if allowed else max(verified, key=lambda entry: (entry[1].general, entry[0].weights))
    )
    return Verified(weights=best.weights, rating=rating, agreement=agreement, allowed=bool(allowed))


def _agreement(verified: Sequence[Verification[R]], single: set[MergeWeights]) -> Agreement:
    encoded = [
        (candidate.weights in single, Encoded(candidate.domain, rating.domain)) for candidate, rating in verified
    ]
    return measure_agreement(
        [entry for alone, entry in encoded if not alone], [entry for alone, entry in encoded if alone]
    )


def _grow_on_real_scores(
    verified: Sequence[Verification[R]], build_and_rate: Callable[[MergeWeights], R]
) -> list[Verification[R]]:
    """Grow a greedy soup on real scores; it encodes at most one more weighting for each expert."""
    ratings = {candidate.weights: rating for candidate, rating in verified}
    before = set(ratings)

    def score(weights: MergeWeights) -> float:
        if weights not in ratings:
            ratings[weights] = build_and_rate(weights)
        return ratings[weights].domain.ndcg_at_10

    experts = len(verified[0][0].weights)
    grow_soup(score, experts, budget=2 * experts, step=1.0, seed=0)
    return [
        (Candidate(weights, rating.domain.ndcg_at_10, rating.general), rating)
        for weights, rating in ratings.items()
        if weights not in before
    ]


def _choose(allowed: Sequence[Verification[R]]) -> Verification[R]:
    ranked = sorted(allowed, key=lambda entry: (entry[1].domain.ndcg_at_10, entry[0].weights), reverse=True)
    best = next((entry for entry in ranked if is_uniform(entry[0].weights)), ranked[0])
    for entry in ranked:
        if paired_bootstrap(entry[1].domain.per_query, best[1].domain.per_query).low > 0:
            return entry
    return best


def _next(
    mixtures: Sequence[Candidate], done: Sequence[MergeWeights], floor: float, *, uniform: bool
) -> Candidate | None:
    """Return the best mixture that is not a neighbour of an encoded one: a uniform mean if asked for, else fitted."""
    likely = [candidate for candidate in mixtures if candidate.general >= floor] or _mildest(mixtures)
    distant = [
        candidate for candidate in likely if all(_distance(candidate.weights, weights) > NEIGHBOUR for weights in done)
    ]
    matching = (candidate for candidate in distant if is_uniform(candidate.weights) == uniform)
    return next(matching, distant[0] if distant else None)


def _mildest(mixtures: Sequence[Candidate]) -> list[Candidate]:
    """Return the mixtures with the one that forgets least first, for a search in which none keeps the guard."""
    return sorted(mixtures, key=lambda candidate: (-candidate.general, candidate.weights))


def _distance(first: MergeWeights, second: MergeWeights) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def _by_domain(candidate: Candidate) -> tuple[float, MergeWeights]:
    return -candidate.domain, candidate.weights


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
