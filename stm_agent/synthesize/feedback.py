"""Rate a written query without any training: does it find its passage, and is it more than a copy of its words?

The round trip is that of Promptagator and InPars (Dai et al. 2022, arXiv 2209.11755; Bonifacio et al. 2022, arXiv
2202.05144): a query that does not find its own passage among others is too general or wrong. It is asked of BM25 and
of an encoder, whose ranks are fused (Cormack et al. 2009). A query that repeats the passage's words finds it as well,
and teaches nothing; how many words people's own queries share with their passages says how many are usual.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.data import Pair
from stm_agent.domain.keywords import keywords
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.synthesize.judge import Judgement

BEST_GRADE = 3
"""Highest grade of a judge."""
ROUND_TRIP = 10
"""Fused rank up to which a query has found its passage."""
USUAL_OVERLAP = 0.5
"""Share of a query's words that stand in its passage, where no query of people is known."""
FUSION = 60
"""Constant of reciprocal rank fusion."""
SHOWN_EXAMPLES = 200
"""Queries of people whose overlap is measured."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Rating:
    """What a written query is worth by itself.

    Attributes:
        score: 0 (unusable, or its passage is not found) to 1.
        round_trip: Whether its passage is among the first ``ROUND_TRIP``.
        overlap: Share of its words that stand in its passage.
        feedback: One line for the reflecting LLM.
    """

    score: float
    round_trip: bool
    overlap: float
    feedback: str


def unusable(reason: str) -> Rating:
    """Return the rating of a text that could not be used."""
    return Rating(score=0.0, round_trip=False, overlap=0.0, feedback=f"no usable text: {reason}")


def judged(rating: Rating, judgement: Judgement | None, *, wanted: int) -> Rating:
    """Return a rating with a judge's grade: it falls in proportion to the distance from the wanted grade.

    Args:
        rating: The rating without a judge.
        judgement: The judge's; None: it could not be used, and the rating stays.
        wanted: The grade, from 0 to 3, that the text should have.
    """
    if judgement is None:
        return rating
    distance = abs(judgement.grade - wanted) / max(wanted, BEST_GRADE - wanted)
    reason = f" ({judgement.reason})" if judgement.reason else ""
    feedback = f"{rating.feedback}; a judge: grade {judgement.grade}, wanted {wanted}{reason}"
    return replace(rating, score=rating.score * (1 - distance), feedback=feedback)


class QueryRater:
    """Rates queries that were written for passages of a pool."""

    def __init__(
        self,
        pool: Mapping[str, str],
        encode_queries: Callable[[Sequence[str]], Vectors],
        passages: Vectors,
        people: Sequence[Pair] = (),
    ) -> None:
        """Index the pool.

        Args:
            pool: Passage id -> text: among these a query must find its own.
            encode_queries: Returns ``[queries, dimension]`` float32, normalised.
            passages: ``[passages, dimension]`` float32, normalised, in the order of the pool.
            people: Pairs of people's queries, which show what overlap is usual.
        """
        self.pool, self._number = pool, {name: row for row, name in enumerate(pool)}
        self._lexical, self._encode, self._passages = Bm25Index(pool), encode_queries, passages
        shown = people[:SHOWN_EXAMPLES]
        overlaps = [overlap(pair.query, pair.positive) for pair in shown]
        self.usual_overlap = float(np.mean(overlaps)) if overlaps else USUAL_OVERLAP

    def rate(self, written: Sequence[tuple[str, str]]) -> list[Rating]:
        """Return a rating for each (passage id, query), in order."""
        if not written:
            return []
        vectors = self._encode([query for _, query in written])
        dense = vectors @ self._passages.T
        return [self._rate(name, query, row) for (name, query), row in zip(written, dense, strict=True)]

    def _rate(self, name: str, query: str, dense: Vectors) -> Rating:
        number = self._number[name]
        by_words = self._lexical.scores(query)
        # A passage without a word of the query stands behind all that have one.
        ranks = [_rank(by_words, number) if by_words[number] > 0 else len(self.pool), _rank(dense, number)]
        fused = _rank(self._fused(by_words, dense), number)
        shared = overlap(query, self.pool[name])
        found = fused <= ROUND_TRIP
        excess = max(0.0, shared - self.usual_overlap) / max(1e-6, 1 - self.usual_overlap)
        score = (1 - 0.5 * excess) / math.log2(1 + fused) if found else 0.0
        return Rating(
            score=score, round_trip=found, overlap=shared, feedback=self._feedback(ranks, fused, shared, excess)
        )

    def _fused(self, by_words: Vectors, dense: Vectors) -> NDArray[np.float64]:
        from scipy.stats import rankdata

        words, meaning = (rankdata(-scores, method="average") for scores in (by_words, dense))
        fused: NDArray[np.float64] = np.where(by_words > 0, 1 / (FUSION + words), 0.0) + 1 / (FUSION + meaning)
        return fused

    def _feedback(self, ranks: Sequence[int], fused: int, shared: float, excess: float) -> str:
        line = f"its passage is at rank {fused} of {len(self.pool)} (by words {ranks[0]}, by meaning {ranks[1]})"
        if fused > ROUND_TRIP:
            line += "; too general or about something else: name what only this passage has"
        line += f"; {shared:.0%} of its words stand in the passage, people's queries have {self.usual_overlap:.0%}"
        return f"{line}; use other words than the passage" if excess > 0.3 else line


def _rank(scores: NDArray[np.floating], number: int) -> int:
    """Return the rank of a row; rows of equal score share the middle one of their ranks."""
    value = scores[number]
    return 1 + int((scores > value).sum()) + int((scores == value).sum() - 1) // 2


def overlap(query: str, passage: str) -> float:
    """Return the share of a query's words that stand in a passage, by stem and without stop words; 0.0 for none."""
    asked, there = (set(map(str, words)) for words in keywords([query, passage]))
    return len(asked & there) / len(asked) if asked else 0.0
