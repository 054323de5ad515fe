"""Whether BM25 and the start together rank better than the start alone: the cheapest teacher that a folder has.

Both are known without any training, so their scores of train queries cost almost nothing. What they find together and
the start alone does not can be learnt by an encoder, by list-wise distillation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.domain.teacher_spec import OWN, TeacherSpec
from stm_agent.evaluate.metrics import Run, score
from stm_agent.loop.useful_training import UsefulTraining

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)
"""Weights of BM25 that are tried; few, since the best of many would be luck."""

GOLD = 0.1
"""Added to the score of each positive, so that labels count beside the teacher, as in preset ``strong``."""


@dataclass(frozen=True, kw_only=True)
class FusedTeacher:
    """What the ensemble of BM25 and the start is worth on the search half over a part of the corpus.

    Attributes:
        bm25: Weight of BM25, of its score divided by the query's best one; the cosine has the rest.
        gain: What its nDCG@10 is above the start's; infinite: not measured yet.
        error: Standard error of the gain.
    """

    bm25: float
    gain: float
    error: float

    @property
    def teaches(self) -> bool:
        """Whether the gain is above its standard error."""
        return self.gain > self.error

    @property
    def line(self) -> str:
        """The gain in words, as the end of a sentence."""
        both = "BM25 and the start together"
        if math.isinf(self.gain):
            return f"if {both} rank the search half better than the start alone, which the run measures"
        return f"{both} have nDCG@10 {self.gain:+.3f} beside the start alone (standard error {self.error:.3f})"

    @property
    def spec(self) -> TeacherSpec:
        """The teacher as a domain file names it."""
        return TeacherSpec(encoders=(OWN,), bm25=self.bm25, encoder_weights=(1 - self.bm25,))


NOT_MEASURED = FusedTeacher(bm25=0.5, gain=math.inf, error=0.0)
"""The teacher of a plan that is made before the start was scored."""


def compare(near: Run, words: Run, qrels: Mapping[str, Mapping[str, int]]) -> FusedTeacher:
    """Return the best ensemble of two rankings beside the first one alone.

    Args:
        near: Cosines of the start, of all passages that are ranked.
        words: BM25 scores of the same passages; those it lacks have none.
        qrels: Judgements of the queries; never those of the test split.
    """
    alone = score(near, qrels)
    tried = [(share, score(_ensemble(near, words, share), qrels)) for share in SHARES]
    share, fused = max(tried, key=lambda row: row[1].ndcg_at_10)
    gains = np.array([fused.per_query[query] - value for query, value in alone.per_query.items()])
    error = float(gains.std(ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else math.inf
    return FusedTeacher(bm25=share, gain=float(gains.mean()), error=error)


def _ensemble(near: Run, words: Run, share: float) -> dict[str, dict[str, float]]:
    """Return the scores that :class:`~stm_agent.mine.score_teachers.EnsembleTeacher` gives."""
    fused = {}
    for query, cosines in near.items():
        lexical = words.get(query, {})
        highest = max(lexical.values(), default=0.0) or 1.0
        fused[query] = {
            passage: share * lexical.get(passage, 0.0) / highest + (1 - share) * cosine
            for passage, cosine in cosines.items()
        }
    return fused


@dataclass(frozen=True)
class Distilled:
    """The expert that learns from BM25 and the start together, what it takes, and why there is one or none."""

    expert: ExpertSpec | None = None
    seconds: float = 0.0
    reasons: tuple[str, ...] = ()


def distilled(
    spec: DomainSpec, useful: UsefulTraining, queries: int, left: float, teacher: FusedTeacher | None
) -> Distilled:
    """Return the distilled expert, if its teacher is better than the start and the other experts leave the minutes.

    Args:
        spec: The planned domain.
        useful: How much training its pairs can use; of passages alone nothing is distilled.
        queries: Steps of an expert of queries.
        left: Seconds that the other experts of all pairs leave.
        teacher: What BM25 and the start are worth together; None: nothing is distilled from them.
    """
    if teacher is None or not useful.mined:
        return Distilled()
    seconds = queries * useful.query_step + useful.teaching
    if spec.teach != TeacherSpec():
        reason = "the domain names a teacher under teach; list an expert with loss: distil to use it"
    elif not teacher.teaches:
        reason = teacher.line
    elif seconds > left:
        reason = f"it takes {seconds / 60:.1f} minutes, and the other experts leave {max(0.0, left) / 60:.1f}"
    else:
        expert = ExpertSpec(
            name="queries-distilled", sources=useful.sources, side="query", loss="distil", gold=GOLD, steps=queries
        )
        return Distilled(expert, seconds, (f"one expert of queries is distilled: {teacher.line}",))
    return Distilled(reasons=(f"no expert of queries is distilled: {reason}",))
