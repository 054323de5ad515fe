"""Verification of a merge search: the best few weightings are really encoded, and one of them is chosen.

Whether the surrogate ordered them correctly is measured and reported. If it did not, the search continues on real
encodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.significance import paired_bootstrap
from stm_agent.merge.agreement import Agreement, Encoded, measure_agreement
from stm_agent.merge.search import Candidate
from stm_agent.merge.strategies import MergeWeights, corners, grow_soup, is_uniform, scaled

NEIGHBOUR = 0.15
"""Largest difference of a weight up to which two weightings are too alike to encode both."""


VERIFIED_OF_ONE = 1
"""Merges of a single expert with the start that are encoded, if the expert alone keeps the guard."""


RETREATS = 2
"""Merges that are encoded at most to bring one that forgets too much back towards the start."""


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


def verify(
    candidates: Sequence[Candidate],
    build_and_rate: Callable[[MergeWeights], R],
    *,
    floor: float,
    count: int,
    learn: Callable[[MergeWeights], Sequence[Candidate]] | None = None,
    start: float | None = None,
) -> Verified[R]:
    """Encode every expert alone and the best candidates; return the best that keeps the guard.

    Hundreds of weightings compete on a few hundred dev queries, so part of the winner's lead is luck. The bagged mean
    of the winners is therefore chosen, or without one the best expert or uniform soup; another weighting replaces it
    only if a paired test supports it. Of a single expert that keeps the guard, the expert itself is the choice, and the
    one merge with the start is encoded that the surrogate puts above it, if there is one.

    Args:
        candidates: From :func:`search`, best first.
        build_and_rate: Builds a real merge and scores it.
        floor: Least general nDCG@10; if no weighting reaches it, the one that forgets least wins.
        count: Candidates to encode in addition to the experts alone. If the surrogate's order turns out to be wrong, a
            soup is grown on real scores as well.
        learn: Called after every merge that was built; returns the candidates with the surrogate's new guesses.
        start: General nDCG@10 of weights 0. If it is known, the best merge that forgets too much is scaled back.
    """
    single = set(corners(len(candidates[0].weights)))
    verified = [
        (candidate, build_and_rate(candidate.weights)) for candidate in candidates if candidate.weights in single
    ]
    mixtures, count = _worth_encoding(_mixtures(candidates, single), verified, floor, count)
    mean = _bagged_mean(mixtures) if len(single) > 1 else None
    for number in range(count):
        candidate = mean if mean and number == 0 else _next(mixtures, verified, floor, uniform=number % 2 == bool(mean))
        if candidate is None:
            break
        verified.append((candidate, build_and_rate(candidate.weights)))
        if learn is not None:
            mixtures = _mixtures(learn(candidate.weights), single)
    agreement = _agreement(verified, single)
    if agreement.is_bad:
        verified += _grow_on_real_scores(verified, build_and_rate)
    if start is not None and start > floor:
        verified += _scaled_back(verified, build_and_rate, floor, start)
    return _verdict(verified, agreement, mean, floor)


def _worth_encoding(
    mixtures: Sequence[Candidate], alone: Sequence[Verification[R]], floor: float, count: int
) -> tuple[Sequence[Candidate], int]:
    """Return the mixtures that may be encoded, and how many; beside an expert that keeps the guard only better ones."""
    if len(alone) > 1 or alone[0][1].general < floor:
        return mixtures, count
    better = [candidate for candidate in mixtures if candidate.domain > alone[0][0].domain]
    return better, min(count, VERIFIED_OF_ONE)


def _scaled_back(
    verified: Sequence[Verification[R]], build_and_rate: Callable[[MergeWeights], R], floor: float, start: float
) -> list[Verification[R]]:
    """Return the best merge that forgets too much, scaled back until it keeps the guard, if no allowed one is better.

    What is forgotten grows about with the square of the weights, so the factor is the root of the share of it that the
    budget allows.
    """
    ranked = sorted(verified, key=lambda entry: (entry[1].domain.ndcg_at_10, entry[0].weights), reverse=True)
    if ranked[0][1].general >= floor:
        return []
    (candidate, rating), tried = ranked[0], list[Verification[R]]()
    while rating.general < floor and len(tried) < RETREATS:
        weights = scaled(candidate.weights, math.sqrt((start - floor) / (start - rating.general)))
        rating = build_and_rate(weights)
        candidate = Candidate(weights, rating.domain.ndcg_at_10, rating.general)
        tried.append((candidate, rating))
    return tried


def _verdict(
    verified: Sequence[Verification[R]], agreement: Agreement, mean: Candidate | None, floor: float
) -> Verified[R]:
    allowed = [entry for entry in verified if entry[1].general >= floor]
    trusted = mean.weights if mean and not agreement.is_bad else None
    best, rating = _choose(allowed, trusted) if allowed else max(verified, key=_by_general)
    return Verified(weights=best.weights, rating=rating, agreement=agreement, allowed=bool(allowed))


def _mixtures(candidates: Sequence[Candidate], single: set[MergeWeights]) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.weights not in single]


def _bagged_mean(mixtures: Sequence[Candidate]) -> Candidate | None:
    return next((candidate for candidate in mixtures if candidate.bagged), None)


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


def _choose(allowed: Sequence[Verification[R]], trusted: MergeWeights | None) -> Verification[R]:
    ranked = sorted(allowed, key=lambda entry: (entry[1].domain.ndcg_at_10, entry[0].weights), reverse=True)
    by_default = [entry for entry in ranked if entry[0].weights == trusted]
    by_default += [entry for entry in ranked if is_uniform(entry[0].weights)]
    best = by_default[0] if by_default else ranked[0]
    for entry in ranked:
        if paired_bootstrap(entry[1].domain.per_query, best[1].domain.per_query).low > 0:
            return entry
    return best


def _next(
    mixtures: Sequence[Candidate], verified: Sequence[Verification[R]], floor: float, *, uniform: bool
) -> Candidate | None:
    """Return the best mixture that is not a neighbour of an encoded one: a uniform mean if asked for, else fitted.

    The surrogate does not learn the guards' tasks, so a guess is held to the floor plus its largest error so far.
    """
    optimism = max([0.0, *(guess.general - rating.general for guess, rating in verified)])
    likely = [candidate for candidate in mixtures if candidate.general >= floor + optimism] or _mildest(mixtures)
    distant = [
        candidate
        for candidate in likely
        if all(_distance(candidate.weights, encoded.weights) > NEIGHBOUR for encoded, _ in verified)
    ]
    matching = (candidate for candidate in distant if is_uniform(candidate.weights) == uniform)
    return next(matching, distant[0] if distant else None)


def _by_general(entry: Verification[R]) -> tuple[float, MergeWeights]:
    return entry[1].general, entry[0].weights


def _mildest(mixtures: Sequence[Candidate]) -> list[Candidate]:
    """Return the mixtures with the one that forgets least first, for a search in which none keeps the guard."""
    return sorted(mixtures, key=lambda candidate: (-candidate.general, candidate.weights))


def _distance(first: MergeWeights, second: MergeWeights) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))
