"""The training data of one round, as a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.mine.lists import Lists
from stm_agent.train.job import NO_NEGATIVES, Negatives


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Training data that the data lever offers to the experts of one round.

    Attributes:
        mined: Pair id -> mined negatives, hardest first.
        synthetic: Pair id -> written negatives.
        written: Pairs whose query the generator wrote.
        relabelled: Pairs whose positive was found as a negative and is relevant.
        lists: Pair id -> a teacher's scores.
        trial: Trace of the program that wrote the synthetic negatives; None: there are none.
    """

    mined: Negatives = field(default_factory=dict)
    synthetic: Negatives = field(default_factory=dict)
    written: tuple[Pair, ...] = ()
    relabelled: tuple[Pair, ...] = ()
    lists: Lists = field(default_factory=dict)
    trial: str | None = None

    def for_expert(self, expert: ExpertSpec, pairs: Sequence[Pair]) -> Negatives:
        """Return the negatives that an expert asked for: written ones first, then mined ones up to the number."""
        wanted = expert.negatives
        if not wanted.mined and not wanted.synthetic:
            return NO_NEGATIVES
        chosen = {}
        for pair in pairs:
            written = self.synthetic.get(pair.id, ())[: wanted.synthetic]
            mined = self.mined.get(pair.id, ())[: wanted.mined + wanted.synthetic - len(written)]
            if written or mined:
                chosen[pair.id] = (*written, *mined)
        return chosen


def negative_kinds(negatives: Negatives) -> dict[str, int]:
    """Return the number of negatives of each kind."""
    return dict(Counter(negative.source for row in negatives.values() for negative in row))
