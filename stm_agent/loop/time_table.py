"""How the minutes of a planned run are spent, before its experts are decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stm_agent.domain.collection_spec import FrozenCollection
from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import SENTENCES, WRITTEN, DomainSpec
from stm_agent.evaluate.proof import proof_encodings
from stm_agent.loop.estimate import CALL_SECONDS, query_calls
from stm_agent.loop.run_plan import Speed
from stm_agent.merge.verifying import VERIFIED_OF_ONE
from stm_agent.train.query_map import SECONDS

USABLE = 0.8
"""Share of the minutes that is planned; the rest is for loading models and for a machine that is slower later."""

MINING = 0.015
"""Seconds to mine the negatives of a pair and to audit them, beside the encoding."""

QUERY_EXPERTS = 4
"""Experts of queries that a merge can average."""


@dataclass(frozen=True, kw_only=True)
class TimeTable:
    """How the minutes of a planned run are spent; all in seconds.

    Attributes:
        encoding: One encoding of the corpus and of the guards' passages, by the start.
        both: What it takes to train both sides beside the steps: mining, for which the train queries are encoded, and
            encodings of the corpus and, for the expert and each merge of it with the start, of its searched part and of
            the guards.
        scored: One encoding of the searched part of the corpus and of the guards' passages, which scores a model.
        scoring: Scores of the experts, the merge and test, and the proof of the exported folder.
        mapping: A map on query vectors, if the experts leave time for it.
        race: The start race, if it is still to come.
        writing: LLM calls for the written queries that experts learn from.
        left: What is left for training steps if only the side of queries is trained.
    """

    encoding: float
    both: float
    scored: float
    scoring: float
    mapping: float
    race: float
    writing: float
    left: float


def time_table(
    spec: DomainSpec, data: DomainData, minutes: float, speed: Speed, spent: float = 0.0, race: float = 0.0
) -> TimeTable:
    """Divide the minutes of a run, of which ``spent`` have passed; ``race``: seconds of a race still to come."""
    documents = len(data.collection.documents)
    searched = min(documents, spec.loop.search_documents or documents)
    guards = sum(guard.documents for guard in spec.general if isinstance(guard, FrozenCollection))
    queries = sum(len(split.queries) for split in data.collection.splits.values())
    pairs = sum(len(rows) for rows in data.sources.values())
    scored = (searched + guards) / speed.passages
    encoding = (documents + guards) / speed.passages
    scoring = (QUERY_EXPERTS + spec.merge.verify) * queries / speed.queries
    scoring += proof_encodings(documents) / speed.passages
    writing = min(query_calls(spec, learnt_from(spec, data)[0]), len(data.pool)) * CALL_SECONDS
    left = (minutes * USABLE - spent) * 60 - encoding - scoring - race - writing
    return TimeTable(
        encoding=encoding,
        both=documents / speed.passages + (1 + VERIFIED_OF_ONE) * scored + pairs * (MINING + 1 / speed.queries),
        scored=scored,
        scoring=scoring,
        mapping=SECONDS if spec.maps_queries else 0.0,
        race=race,
        writing=writing,
        left=left,
    )


def learnt_from(spec: DomainSpec, data: DomainData) -> tuple[tuple[str, ...], int]:
    """Return the sources that experts learn from, and the number of their distinct pairs; of few pairs, with passages.

    If there are too few pairs for two batches, what the generator writes and sentences of the corpus teach beside them.
    """
    own = [name for name, pairs in data.sources.items() if pairs]
    count = pairs_by_source(data, own)[1]
    if count >= 2 * spec.train.batch_size:
        return tuple(own), count
    # If a generator wrote all the queries that it was asked for, no more are paid for.
    written = (WRITTEN,) if spec.synthesize.queries and not data.collection.synthetic else ()
    return (*own, *written, SENTENCES), count + len(data.pool)


def pairs_by_source(data: DomainData, sources: Sequence[str]) -> tuple[dict[str, int], int]:
    """Return source -> its distinct pairs, most first, and the distinct pairs of all; parts of train repeat its pairs.

    Args:
        data: The domain's.
        sources: Names; those that are made of the corpus or by an LLM have no pairs yet.
    """
    texts = {name: {(pair.query, pair.positive) for pair in data.sources.get(name, ())} for name in sources}
    sizes = {name: len(texts[name]) for name in sorted(texts, key=lambda name: (-len(texts[name]), name))}
    return sizes, len(set().union(*texts.values()))
