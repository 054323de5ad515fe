"""Merge weights: thousands of weightings by a surrogate, the best few by real encodes.

The surrogate is first order: a merged model's vector is guessed as the normalised
``e0 + sum_i w_i (e_i - e0)`` of the base's and the experts' cached vectors. Its rank correlation with
the real scores of the verified points is reported, and a bad one is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stm_agent.evaluate.metrics import Qrels, Scores, score
from stm_agent.evaluate.ranking import rank
from stm_agent.evaluate.significance import paired_bootstrap

BAD = 0.5
POOL = 30
LIMIT = 400
MANY = 8
"""Experts up to which every subset's mean is tried."""


@dataclass(frozen=True)
class Task:
    """Cached vectors of base and experts for one dev task.

    Attributes:
        queries: Query ids.
        documents: Document ids.
        qrels: Judgements.
        query_vectors: ``[1 + experts, queries, dimension]`` float32; the base first.
        document_vectors: ``[1 + experts, documents, dimension]`` float32.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    qrels: Qrels
    query_vectors: NDArray[np.float32]
    document_vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """A weighting and what the surrogate gives it: nDCG@10 on the domain, and the mean over the guards."""

    weights: tuple[float, ...]
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
        rank_correlation: Spearman between surrogate and real over the verified points; None below three points.
        surrogate_is_bad: Whether that correlation is too low to trust the surrogate.
    """

    weights: tuple[float, ...]
    rating: R
    rank_correlation: float | None
    surrogate_is_bad: bool


def grid(experts: int, step: float, seed: int) -> list[tuple[float, ...]]:
    """Return weightings to try: each expert alone, uniform soups, and a grid or (from four experts on) seeded draws.

    The sum need not be 1: a sum above 1 goes on in the direction of the experts, as task arithmetic does.
    """
    corners = [tuple(float(index == other) for other in range(experts)) for index in range(experts)]
    points = [*corners, *_soups(experts)]
    ticks = np.round(np.arange(0, 1 + step / 2, step), 4).tolist()
    if len(ticks) ** experts <= 4 * LIMIT:
        points += [point for point in itertools.product(ticks, repeat=experts) if 0.5 <= sum(point) <= 1.5]
    else:
        draws = np.random.default_rng(seed)
        shares = draws.dirichlet(np.ones(experts), LIMIT) * draws.uniform(0.7, 1.3, (LIMIT, 1))
        points += [tuple(np.round(row, 4).tolist()) for row in shares]
    return list(dict.fromkeys(points))


def _soups(experts: int) -> list[tuple[float, ...]]:
    """Return the uniform mean of every set of two or more experts (of all experts alone where sets are too many)."""
    sizes = range(2, experts + 1) if experts <= MANY else [experts]
    return [
        tuple(round(1 / size, 4) if index in chosen else 0.0 for index in range(experts))
        for size in sizes
        for chosen in itertools.combinations(range(experts), size)
    ]


def search(domain: Task, guards: Sequence[Task], *, step: float, seed: int) -> list[Candidate]:
    """Score weightings by the surrogate, best on the domain first."""
    experts = len(domain.query_vectors) - 1
    small = _pooled(domain)
    return sorted(
        (
            Candidate(weights, _surrogate(small, weights), _mean([_surrogate(guard, weights) for guard in guards]))
            for weights in grid(experts, step, seed)
        ),
        key=lambda candidate: (-candidate.domain, candidate.weights),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _pooled(task: Task) -> Task:
    """Keep the documents that are judged, or near the top of any expert: the others cannot decide nDCG@10."""
    keep: set[str] = {document for grades in task.qrels.values() for document in grades}
    for queries, documents in zip(task.query_vectors[1:], task.document_vectors[1:], strict=True):
        run = rank(task.queries, queries, task.documents, documents, k=POOL)
        keep.update(*(hits.keys() for hits in run.values()))
    columns = [column for column, document in enumerate(task.documents) if document in keep]
    names = [task.documents[column] for column in columns]
    return Task(task.queries, names, task.qrels, task.query_vectors, task.document_vectors[:, columns])


def _surrogate(task: Task, weights: Sequence[float]) -> float:
    queries, documents = _mix(task.query_vectors, weights), _mix(task.document_vectors, weights)
    return score(rank(task.queries, queries, task.documents, documents, k=10), task.qrels).ndcg_at_10


def _mix(vectors: NDArray[np.float32], weights: Sequence[float]) -> NDArray[np.float32]:
    shares = np.array([1 - sum(weights), *weights], dtype=np.float32)
    mixed = np.tensordot(shares, vectors, axes=1)
    return np.asarray(mixed / np.maximum(np.linalg.norm(mixed, axis=-1, keepdims=True), 1e-9), dtype=np.float32)


def verify(
    candidates: Sequence[Candidate], build_and_rate: Callable[[tuple[float, ...]], R], *, floor: float, count: int
) -> Verified[R]:
    """Rate the best candidates and every expert alone for real; return the best that keeps the guard.

    Hundreds of weightings compete on a few hundred dev queries, so the winner's lead is partly luck: a free
    weighting takes the place of the best expert or uniform soup only where a paired test says so.

    Args:
        candidates: From :func:`search`, best first.
        build_and_rate: Builds a real merge and scores it.
        floor: Least general nDCG@10; where no point reaches it, the one that forgets least wins.
        count: Candidates to verify beside the experts alone.
    """
    alone = [
        candidate
        for candidate in candidates
        if sorted(candidate.weights)[:-1] == [0.0] * (len(candidate.weights) - 1) and max(candidate.weights) == 1.0
    ]
    mixed = [candidate for candidate in candidates if candidate not in alone]
    likely = [candidate for candidate in mixed if candidate.general >= floor] or mixed
    soups = _spread([candidate for candidate in likely if _is_simple(candidate)], (count + 1) // 2)
    free = _spread([candidate for candidate in likely if not _is_simple(candidate)], count - len(soups))
    tried = [(candidate, build_and_rate(candidate.weights)) for candidate in (*alone, *soups, *free)]
    allowed = [pair for pair in tried if pair[1].general >= floor]
    best, rating = _choose(allowed) if allowed else max(tried, key=lambda pair: (pair[1].general, pair[0].weights))
    correlation = _correlation(tried)
    bad = correlation is not None and len(tried) > 3 and correlation < BAD
    return Verified(best.weights, rating, correlation, bad)


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


def _spread(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Take the best candidates that are not neighbours of one already taken."""
    taken: list[Candidate] = []
    for candidate in candidates:
        if len(taken) == count:
            break
        near = (max(abs(a - b) for a, b in zip(candidate.weights, other.weights, strict=True)) for other in taken)
        if all(distance > 0.15 for distance in near):
            taken.append(candidate)
    return taken


def _correlation(tried: Sequence[tuple[Candidate, R]]) -> float | None:
    if len(tried) < 3:
        return None
    from scipy.stats import spearmanr

    guesses = [candidate.domain for candidate, _ in tried]
    real = [rating.domain.ndcg_at_10 for _, rating in tried]
    if len(set(guesses)) == 1 or len(set(real)) == 1:
        return None
    return float(spearmanr(guesses, real).statistic)
