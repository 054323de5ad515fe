"""What a merge search found, and the scores it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.scoring import StoredScores, scores_from_json
from stm_agent.files import read_json
from stm_agent.merge.recipe import MethodOptions
from stm_agent.merge.strategies import MergeWeights

RESULT = "merge.json"


@dataclass(frozen=True)
class Rating:
    """Dev scores of a model.

    Attributes:
        domain: Scores on the domain's dev queries.
        general: Mean nDCG@10 over the general guard tasks.
    """

    domain: Scores
    general: float


class MergeRow(TypedDict):
    """A merge with its scores on the search half.

    Attributes:
        weights: One weight for each expert.
        method: How they are merged, as JSON; rows of earlier versions have none: they are sums.
        dev: nDCG@10 on the search half.
        general: Mean nDCG@10 over the guards.
    """

    weights: list[float]
    method: NotRequired[dict[str, object]]
    dev: float
    general: float


class VerifiedRow(MergeRow):
    """A merge that was really encoded; ``surrogate`` is the guess before that, None: nobody guessed."""

    surrogate: float | None
    allowed: bool


class FrontPoint(MergeRow):
    """A point of the front; ``verified``: with real scores, else with those of the surrogate."""

    verified: bool


class StoredRating(TypedDict):
    """A rating as JSON."""

    domain: StoredScores
    general: float


class StoredMerge(TypedDict):
    """What ``merge.json`` holds; see :class:`MergeResult`."""

    weights: list[float]
    method: dict[str, object]
    rating: StoredRating
    allowed: bool
    rank_correlation: float | None
    surrogate_is_bad: bool
    agreement: str
    verified: list[VerifiedRow]
    front: list[FrontPoint]


def only(scores: Scores, queries: Sequence[str]) -> Scores:
    """Return scores over some of the queries; Recall@100 and MRR@10 are not known for a part and become 0."""
    part = {query: scores.per_query[query] for query in queries if query in scores.per_query}
    return Scores(sum(part.values()) / max(len(part), 1), 0.0, 0.0, part)


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What a :class:`~stm_agent.merge.job.MergeJob` found.

    Attributes:
        weights: One weight for each expert.
        method: How the experts are merged.
        rating: Real scores of the chosen merge, over all queries of the job's dev task.
        allowed: Whether it keeps the forgetting budget.
        rank_correlation: Spearman between surrogate and real scores of the verified sums; None: too few.
        surrogate_is_bad: Whether the search went on with real encodes.
        agreement: How well the surrogate ordered the encoded sums, in words.
        verified: Merges that were really encoded: weights, method, surrogate's guess, real scores on the search half.
        front: Points that no other beats on domain and guards at once, best on the domain first.
    """

    weights: MergeWeights
    method: MethodOptions
    rating: Rating
    allowed: bool
    rank_correlation: float | None
    surrogate_is_bad: bool
    agreement: str
    verified: tuple[VerifiedRow, ...]
    front: tuple[FrontPoint, ...]


def read_merge(folder: Path) -> MergeResult:
    """Read the result of a :class:`~stm_agent.merge.job.MergeJob`."""
    row: StoredMerge = read_json(folder / RESULT)
    return MergeResult(
        weights=tuple(row["weights"]),
        method=MethodOptions.model_validate(row["method"]),
        rating=Rating(scores_from_json(row["rating"]["domain"]), row["rating"]["general"]),
        allowed=row["allowed"],
        rank_correlation=row["rank_correlation"],
        surrogate_is_bad=row["surrogate_is_bad"],
        agreement=row["agreement"],
        verified=tuple(row["verified"]),
        front=tuple(row["front"]),
    )
