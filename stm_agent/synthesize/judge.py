"""An LLM that judges passages: grades 0 to 3 with a reason; what a grade says is learnt from known positives."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stm_agent.errors import GenerationError
from stm_agent.llm.checking import TextCheck
from stm_agent.progress import report
from stm_agent.synthesize.drafts import WriteRequest
from stm_agent.synthesize.program import Writer
from stm_agent.synthesize.report import WritingReport

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

GRADES = (0, 1, 2, 3)
NO_GRADE = "no grade from 0 to 3"
_JUDGEMENT = re.compile(r"\b(?:grade|score|rating)?\W{0,3}([0-3])\b(?!\.\d)\W*(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Judgement:
    """A grade from 0 to 3, and the judge's reason for it."""

    grade: int
    reason: str


@dataclass(frozen=True)
class Judged:
    """Judgements in the order of what was asked, None for each that could not be used, and the counts of the stage."""

    judgements: tuple[Judgement | None, ...]
    report: WritingReport


def read_judgement(text: str) -> Judgement | None:
    """Return the grade that a line starts with, and the rest as its reason; None: it has no grade."""
    match = _JUDGEMENT.search(text[:40] + text[40:].replace("\n", " "))
    if match is None or match.start() > 20:
        return None
    return Judgement(int(match[1]), " ".join(match[2].split()))


def judge_all(items: Sequence[tuple[str, str]], *, task: str, program: Path, client: LlmClient) -> Judged:
    """Let an LLM judge passages for queries, as many at a time as the client's width allows.

    If the budget ends or the LLM goes away, the judgements until then are returned, and the report says so.

    Args:
        items: Queries and passages.
        task: One line: what a query is and what should be found.
        program: File of the program; its output field is ``judgement``.
        client: The way to the LLM.

    Raises:
        ConfigError: The program cannot be built or fails.
    """
    writer = Writer(program, client, "judgement", alike=True)
    # A grade alone is a whole answer.
    check = TextCheck("passage", model_text="3")
    requests = [WriteRequest(check, {"task": task, "query": query, "passage": passage}) for query, passage in items]
    judgements: list[Judgement | None] = []
    ended: GenerationError | None = None
    try:
        for text in writer.write_all(requests):
            judgement = None if text is None else read_judgement(text)
            if text is not None and judgement is None:
                writer.refused[NO_GRADE] += 1
            judgements.append(judgement)
            report("judge", "passages", len(judgements), len(items))
    except GenerationError as error:
        ended = error
    usable = sum(judgement is not None for judgement in judgements)
    judgements += [None] * (len(items) - len(judgements))
    return Judged(tuple(judgements), writer.report(usable, ended))


def weights_of_grades(
    known: Sequence[int], candidates: Sequence[int], chances: NDArray[np.float64]
) -> dict[int, float]:
    """Return what each grade adds to the log-odds of relevance: log P(grade | relevant) / P(grade | not relevant).

    A judge is not believed but measured: the first share is that of known positives, the second that of candidates,
    each counted with its chance not to be relevant; one more of each grade is added to both (Laplace). It assumes that,
    given relevance, grades and scores are independent, as Dawid & Skene (Applied Statistics 28, 1979) do of observers.

    Args:
        known: Grades of known positives.
        candidates: Grades of candidates.
        chances: ``[candidates]``: the chance of each to be relevant, by the scores.
    """
    relevant = Counter(known)
    others = dict.fromkeys(GRADES, 0.0)
    for grade, chance in zip(candidates, chances.tolist(), strict=True):
        others[grade] += 1 - chance
    total = len(known) + len(GRADES), sum(others.values()) + len(GRADES)
    weights: Mapping[int, float] = {
        grade: float(np.log((relevant[grade] + 1) / total[0]) - np.log((others[grade] + 1) / total[1]))
        for grade in GRADES
    }
    return dict(weights)
