"""Rate written passages without any training, by how near an encoder puts them to the query.

A hard negative is hard if it is near the query, and useless if it is as near as the answer: then it probably answers,
as in the positive-aware filter of mining (NV-Retriever, arXiv 2407.15831). Graded passages are good if their order of
nearness is the order of relevance that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.data import Pair
from stm_agent.synthesize.feedback import BEST_GRADE, Rating, overlap
from stm_agent.synthesize.judge import Judgement

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]
AS_NEAR_AS_THE_ANSWER = 0.95
"""Share of the positive's nearness from which a negative probably answers the query."""
DOUBTFUL_SCORE = 0.25
"""Rating of such a negative, if no judge says that it does not answer."""
EASY = 0.3
"""Hardness below which the reflecting LLM is asked for harder passages."""


class PassageRater:
    """Rates passages that were written for pairs."""

    def __init__(self, encode_queries: Encode, encode_passages: Encode, others: Sequence[str]) -> None:
        """Take an encoder.

        Args:
            encode_queries: Returns ``[texts, dimension]`` float32, normalised.
            encode_passages: The same of passages.
            others: Passages of the corpus, whose nearness to a query is that of chance.
        """
        self._queries, self._passages = encode_queries, encode_passages
        self._others = encode_passages(others)

    def negative(self, pair: Pair, mined: str, text: str, judgement: Judgement | None = None) -> Rating:
        """Return the rating of a hard negative: 0 for one that is as near as chance, 1 for one that is hardest.

        Args:
            pair: The pair that it was written for.
            mined: The mined negative that the program was shown; empty: none.
            text: The negative.
            judgement: A judge's grade of it; None: there is none.
        """
        near = self._nearness(pair.query, [pair.positive, text, *([mined] if mined else [])])
        answer, own, chance = near[0], near[1], self._chance(pair.query)
        hardness = float(np.clip((own - chance) / max(answer - chance, 1e-6), 0.0, 1.0))
        line = f"nearness to the query {own:.2f}; its answer has {answer:.2f}, passages by chance {chance:.2f}"
        line += f", the mined passage {near[2]:.2f}" if mined else ""
        score = hardness
        if judgement is not None:
            score *= 1 - judgement.grade / BEST_GRADE
            line += f"; a judge: grade {judgement.grade}, wanted 0"
            line += f" ({judgement.reason})" if judgement.reason else ""
        elif own >= AS_NEAR_AS_THE_ANSWER * answer:
            score = DOUBTFUL_SCORE
            line += "; as near as the answer: it probably answers the query"
        if hardness < EASY:
            line += "; too easy: keep more of what the query asks for, and change one requirement"
        return Rating(score=score, round_trip=False, overlap=overlap(text, pair.positive), feedback=line)

    def graded(self, pair: Pair, texts: Mapping[int, str], judgements: Mapping[int, Judgement | None]) -> Rating:
        """Return the rating of graded passages: the share of pairs of levels that are in order, the positive included.

        Args:
            pair: The pair that they were written for; its positive has the highest level.
            texts: Level -> passage; levels that could not be written lack.
            judgements: Level -> a judge's grade; empty: nobody judges.
        """
        levels = [BEST_GRADE, *sorted(texts, reverse=True)]
        near = dict(
            zip(levels, self._nearness(pair.query, [pair.positive, *(texts[n] for n in levels[1:])]), strict=True)
        )
        in_order = sum(near[high] > near[low] for high, low in combinations(levels, 2))
        possible = BEST_GRADE * (BEST_GRADE + 1) // 2
        score = in_order / possible
        shown = ", ".join(f"level {level} {near[level]:.2f}" for level in levels)
        line = f"nearness to the query: {shown}; {in_order} of {possible} pairs of levels are in order"
        grades = {level: judgement.grade for level, judgement in judgements.items() if judgement is not None}
        if grades:
            score *= 1 - float(np.mean([abs(grade - level) / BEST_GRADE for level, grade in grades.items()]))
            line += "; a judge: " + ", ".join(f"level {level} has grade {grade}" for level, grade in grades.items())
        return Rating(score=score, round_trip=False, overlap=0.0, feedback=line)

    def _nearness(self, query: str, texts: Sequence[str]) -> list[float]:
        row: list[float] = (self._queries([query]) @ self._passages(texts).T)[0].tolist()
        return row

    def _chance(self, query: str) -> float:
        return float((self._queries([query]) @ self._others.T).mean()) if len(self._others) else 0.0
