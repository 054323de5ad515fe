"""How far the surrogate's guesses agree with real encodes, whether two mixtures were encoded or twenty."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stm_agent.evaluate.metrics import Scores

LOW_CORRELATION = 0.5
"""Spearman correlation below which the surrogate is not trusted."""
LOW_AGREEMENT = 2 / 3
"""Share of correctly ordered pairs below which the surrogate is not trusted; with two mixtures, one pair of three."""
CLEAR = 2.0
"""Standard errors of a paired difference beyond which the real order of two weightings is not put down to luck."""


@dataclass(frozen=True)
class Encoded:
    """A weighting that was really encoded: the surrogate's guess before that, and the real dev scores."""

    guess: float
    real: Scores


@dataclass(frozen=True)
class Agreement:
    """How the surrogate's order of the encoded weightings compares with the real one.

    Attributes:
        rank_correlation: Spearman correlation of guesses and real scores over the mixtures; None for fewer than three
            mixtures, or if all scores are equal.
        pairs: Pairs whose real order is clear: two mixtures, or a mixture and the best single expert.
        correct: Pairs of these that the surrogate ordered correctly.
    """

    rank_correlation: float | None
    pairs: int
    correct: int

    @property
    def is_bad(self) -> bool:
        """Whether the surrogate should not be trusted."""
        few_correct = self.pairs > 0 and self.correct < LOW_AGREEMENT * self.pairs
        uncorrelated = self.rank_correlation is not None and self.rank_correlation < LOW_CORRELATION
        return few_correct or uncorrelated

    @property
    def summary(self) -> str:
        """The numbers as words, for example ``2 of 3 clear pairs in the right order``; for reports and logs."""
        parts = [f"{self.correct} of {self.pairs} clear pairs in the right order"] if self.pairs else []
        if self.rank_correlation is not None:
            parts.append(f"Spearman {self.rank_correlation:.2f}")
        return ", ".join(parts) or "no clear differences between the encoded merges"


def measure_agreement(mixtures: Sequence[Encoded], singles: Sequence[Encoded]) -> Agreement:
    """Compare the surrogate's order with the real one.

    A rank correlation needs three mixtures. The order of pairs needs only one: the surrogate knows the score of each
    single expert, so a mixture that it put above the best of them and that is really below counts against it.
    Weaker experts are left out of the pairs, since almost any mixture beats them. Differences smaller than
    :data:`CLEAR` standard errors are left out too.

    Args:
        mixtures: Encoded weightings of two or more experts, or of one expert with another weight than 1.
        singles: The experts alone.
    """
    points = [*mixtures]
    if singles:
        points.append(max(singles, key=lambda single: single.real.ndcg_at_10))
    pairs = correct = 0
    for first, second in itertools.combinations(points, 2):
        if _is_clear(first.real, second.real):
            pairs += 1
            correct += (first.guess > second.guess) == (first.real.ndcg_at_10 > second.real.ndcg_at_10)
    return Agreement(_rank_correlation(mixtures), pairs, correct)


def _is_clear(first: Scores, second: Scores) -> bool:
    differences = np.array([value - second.per_query[query] for query, value in first.per_query.items()])
    mean = abs(float(differences.mean()))
    if len(differences) < 2:
        return mean > 0
    return mean > CLEAR * float(differences.std(ddof=1)) / math.sqrt(len(differences))


def _rank_correlation(mixtures: Sequence[Encoded]) -> float | None:
    guesses = [mixture.guess for mixture in mixtures]
    real = [mixture.real.ndcg_at_10 for mixture in mixtures]
    if len(mixtures) < 3 or len(set(guesses)) == 1 or len(set(real)) == 1:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(guesses, real).statistic)
