"""How many of the negatives that are mined for written queries are relevant: an estimate with an interval.

A query that fits many passages makes false negatives: the passages that it fits as well as its own. Known positives of
people's queries say how relevant passages look to the retriever, as in the audit of a run; without enough of these a
judge may grade the first negative of each query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import WRITTEN
from stm_agent.errors import GenerationError
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.loop.comparison_report import FalseNegatives
from stm_agent.loop.context import RunContext
from stm_agent.loop.data_jobs import mining_job, searched_pool
from stm_agent.loop.grading import Grader
from stm_agent.mine.evidence import REFUSED, Found, Suspect, list_suspects, weigh
from stm_agent.mine.families import MINED, ONE, SEVERAL, Family
from stm_agent.mine.job import DOUBTFUL, RELEVANT
from stm_agent.mine.prompted import PromptedEncoder
from stm_agent.mine.score_teachers import BiEncoderTeacher
from stm_agent.mine.store import load_negatives

MOST_PEOPLE = 500
"""Pairs of people that show how relevant passages look."""
MOST_JUDGED = 48
"""Negatives that a judge grades."""
ANSWERS = 2
"""Grade from which a passage answers at least a part of the query."""


def false_negative_rate(
    context: RunContext, written: Sequence[Pair], people: Sequence[Pair], grader: Grader | None
) -> FalseNegatives:
    """Return the share of relevant passages among what is mined for written queries, or why it is not estimated.

    Args:
        context: The run.
        written: Pairs of written queries.
        people: Pairs of people's queries.
        grader: A judge, asked only if too few queries have several known positives; None: nobody.

    Returns:
        ``share``, ``low``, ``high`` (95 %), ``count`` and ``by``; or ``reason``.
    """
    if not written:
        return {"reason": "no estimate: no query was written"}
    pairs = (*people[:MOST_PEOPLE], *written)
    miner = context.backbone, Instruction.none(context.backbone.open().model.prompts)
    with context.timed("mine", f"mining negatives for {len(written):,} written queries"):
        folder = context.build(mining_job(context.spec, context.data, pairs, miner, context.cache))
    doubtful, relevant = (load_negatives(folder / name) for name in (DOUBTFUL, RELEVANT))
    found = Found(negatives=load_negatives(folder), doubtful=doubtful, relevant=relevant, written={})
    suspects = list_suspects(pairs, found)
    with context.clock.working():
        encoder = PromptedEncoder(
            miner[0].open(), miner[1].query_prefix, miner[1].passage_prefix, EmbeddingCache(context.cache)
        )
        pool = searched_pool(context.spec, context.data)
        evidence = weigh(pairs, suspects, pool, teacher=BiEncoderTeacher(encoder), encoder=encoder)
        family = Family.of(MINED, evidence)
    # People's single passages say less of written queries than a judge that reads these.
    if family.calibrated is not None and (family.by == SEVERAL or grader is None):
        part = family.candidates & np.array([_counts(suspect) for suspect in family.suspects], dtype=bool)
        if part.any():
            rate = family.calibrated.rate(part)
            return {
                "share": rate.share,
                "low": rate.low,
                "high": rate.high,
                "count": rate.count,
                "by": "known positives" if family.by == SEVERAL else "known positives, one a query",
            }
    few = (
        "too few queries have several known positives" if family.by == ONE else "nothing was mined for written queries"
    )
    reason = family.reason or f"no estimate: {few}"
    return _judged(suspects, grader, reason)


def _counts(suspect: Suspect) -> bool:
    """Return whether a suspect would be trained on as a negative of a written query."""
    return suspect.pair.source == WRITTEN and suspect.kind != REFUSED


def _first_negatives(suspects: Sequence[Suspect]) -> list[tuple[str, str]]:
    """Return query and text of the first negative of each query that nobody has judged, as many as a judge grades."""
    first: dict[int, Suspect] = {}
    for suspect in suspects:
        if _counts(suspect) and not suspect.known:
            first.setdefault(suspect.query, suspect)
    return [(suspect.pair.query, suspect.passage.text) for suspect in list(first.values())[:MOST_JUDGED]]


def _judged(suspects: Sequence[Suspect], grader: Grader | None, reason: str) -> FalseNegatives:
    """Return the share that a judge calls relevant, of the first negative of each query."""
    from scipy.stats import binomtest

    items = _first_negatives(suspects)
    if not items:
        return {"reason": reason}
    if grader is None:
        return {"reason": f"{reason}; or name a --judge"}
    try:
        grades = [judgement.grade for judgement in grader.grade(items) if judgement is not None]
    except GenerationError as error:
        return {"reason": f"{reason}; the judge gave out: {error}"}
    if not grades:
        return {"reason": f"{reason}; no judgement of {len(items)} was usable"}
    hits = sum(grade >= ANSWERS for grade in grades)
    interval = binomtest(hits, len(grades)).proportion_ci(method="wilson")
    return {
        "share": hits / len(grades),
        "low": float(interval.low),
        "high": float(interval.high),
        "count": len(grades),
        "by": "judge",
    }
