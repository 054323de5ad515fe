"""How much training the data of a domain can use, and what it takes at the speed of this machine."""

from __future__ import annotations

from dataclasses import dataclass

from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import SENTENCES, WRITTEN, DomainSpec
from stm_agent.loop.run_plan import Speed
from stm_agent.loop.time_table import QUERY_EXPERTS, learnt_from, time_table

STEP_COST, QUERY_STEP_COST = 2.5, 4.5
"""Time of a training step, of both sides and of queries alone, as a multiple of the time to encode its texts. A step is
a forward pass and a backward pass without gradients of the backbone's weights, together 2.3 to 2.6 times as long, in
float32 and in mixed precision. Queries are so short that the optimizer and the softmax over all passages nearly double
that."""

BOTH_SIDES, QUERY_SIDE = 3.0, 8.0
"""Passes over the pairs after which more steps mostly learn them by heart."""

FEWEST_STEPS = 30
"""Steps below which an expert is not worth its scoring."""

MINED = 1
"""Mined negatives of each pair, if both sides are trained on judged pairs."""

TEACHING = 0.02
"""Seconds to retrieve and score the candidates of a pair, beside the encoding."""


@dataclass(frozen=True, kw_only=True)
class UsefulTraining:
    """How much training the data can use, and what it takes.

    Attributes:
        sources: Names of the sources that experts learn from.
        pairs: Their pairs, or passages if there are no pairs.
        mined: Mined negatives of each pair.
        batch: Pairs of a step of both sides; as many texts with negatives as a batch without has.
        both: Steps of both sides beyond which the pairs are learnt by heart.
        queries: The same for one expert of queries.
        both_step: Seconds of a step of both sides.
        query_step: Seconds of a step of queries.
        teaching: Seconds in which a teacher of BM25 and the start scores the candidates of all pairs, and in which an
            expert that it taught is scored.
    """

    sources: tuple[str, ...]
    pairs: int
    mined: int
    batch: int
    both: float
    queries: float
    both_step: float
    query_step: float
    teaching: float


def useful_training(spec: DomainSpec, data: DomainData, speed: Speed) -> UsefulTraining:
    """Return how much training the data of a domain can use at a speed."""
    sources, pairs = learnt_from(spec, data)
    # Negatives are mined for pairs; of passages alone, each is the positive of its own sentence.
    mined = 0 if {WRITTEN, SENTENCES} & {*sources} else MINED
    batch = spec.train.batch_size
    smaller = max(2, round(2 * batch / (2 + mined)))
    return UsefulTraining(
        sources=sources,
        pairs=pairs,
        mined=mined,
        batch=smaller,
        both=max(BOTH_SIDES * pairs / smaller, FEWEST_STEPS),
        queries=max(QUERY_SIDE * pairs / batch, FEWEST_STEPS),
        both_step=STEP_COST * smaller * (1 / speed.queries + (1 + mined) / speed.passages),
        query_step=QUERY_STEP_COST * batch / speed.queries,
        teaching=pairs * TEACHING
        + (pairs + sum(len(s.queries) for s in data.collection.splits.values())) / speed.queries,
    )


def queries_fit(spec: DomainSpec, data: DomainData, minutes: float, speed: Speed, spent: float = 0.0) -> bool:
    """Return whether the minutes allow all training of queries that is of use."""
    useful = useful_training(spec, data, speed)
    needed = QUERY_EXPERTS * useful.queries * useful.query_step
    return time_table(spec, data, minutes, speed, spent).left >= needed
