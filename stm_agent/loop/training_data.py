"""The training data of one round, as a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec, NegativeSpec
from stm_agent.domain.text import share
from stm_agent.files import content_hash
from stm_agent.mine.evidence import Found
from stm_agent.mine.lists import Lists
from stm_agent.mine.negatives import Negative
from stm_agent.synthesize.graded import GradedPassages
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
        graded: Pair id -> written passages of lower relevance.
        trial: Trace of the program that wrote the synthetic negatives; None: there are none.
        found: What mining found and the generator wrote before the audit, for a later audit; None: nothing was audited.
        auditor: Hash of the encoder, with its instruction, whose scores the newest audit saw.
        compared: Changes of these data that probes compared when they were made.
    """

    mined: Negatives = field(default_factory=dict)
    synthetic: Negatives = field(default_factory=dict)
    written: tuple[Pair, ...] = ()
    relabelled: tuple[Pair, ...] = ()
    lists: Lists = field(default_factory=dict)
    graded: Mapping[str, GradedPassages] = field(default_factory=dict)
    trial: str | None = None
    found: Found | None = None
    auditor: str | None = None
    compared: int = 0

    @cached_property
    def digest(self) -> str:
        """Hash of what experts learn from."""
        negatives = [
            [pair, *(negative.text for negative in row)]
            for kind in (self.mined, self.synthetic)
            for pair, row in kind.items()
        ]
        return content_hash([negatives, sorted(self.lists), self.new_pairs])

    @cached_property
    def new_pairs(self) -> str | None:
        """Hash of the pairs and related passages beside those of the domain; None: there are none."""
        pairs = [pair.content() for pair in (*self.written, *self.relabelled)]
        related = {pair: passages.related for pair, passages in self.graded.items() if passages.related}
        return content_hash([pairs, related]) if pairs or related else None

    def with_related(self, expert: ExpertSpec, pairs: Iterable[Pair]) -> tuple[Pair, ...]:
        """Return the pairs, those without graded passages of their own with written ones, if the expert asks for them.

        Args:
            expert: The expert; only ``related`` ones count.
            pairs: Its pairs.
        """
        if not expert.related or not self.graded:
            return tuple(pairs)
        return tuple(
            replace(pair, related=self.graded[pair.id].related) if pair.id in self.graded and not pair.related else pair
            for pair in pairs
        )

    def for_expert(self, expert: ExpertSpec, pairs: Sequence[Pair]) -> Negatives:
        """Return the negatives that an expert asked for.

        Written ones first, then mined ones up to the number; or mixed by the share of written ones.
        """
        wanted = expert.negatives
        if not wanted.written_and_mined:
            return NO_NEGATIVES
        chosen = {}
        for pair in pairs:
            written, mined = self._written_negatives(pair), self.mined.get(pair.id, ())
            row = (
                _in_order(written, mined, wanted)
                if wanted.synthetic_share is None
                else _mixed(pair, written, mined, wanted)
            )
            if row:
                chosen[pair.id] = row
        return chosen

    def _written_negatives(self, pair: Pair) -> Row:
        """Return the negatives written for a pair; if there are none, its graded passages of the lowest level."""
        graded = self.graded.get(pair.id, GradedPassages()).negatives
        return self.synthetic.get(pair.id, ()) or tuple(Negative(text, "synthetic") for text in graded)


Row = tuple[Negative, ...]


def _in_order(written: Row, mined: Row, wanted: NegativeSpec) -> Row:
    first = written[: wanted.synthetic]
    return (*first, *mined[: wanted.written_and_mined - len(first)])


def _mixed(pair: Pair, written: Row, mined: Row, wanted: NegativeSpec) -> Row:
    """Return a pair's negatives: a fixed hash draws the kind of each; if that one has no more, the other follows."""
    left = {True: list(written), False: list(mined)}
    row: list[Negative] = []
    for number in range(wanted.written_and_mined):
        is_written = share(f"negative:{pair.id}:{number}") < (wanted.synthetic_share or 0.0)
        source = left[is_written] or left[not is_written]
        if source:
            row.append(source.pop(0))
    return tuple(row)


def negative_kinds(negatives: Negatives) -> dict[str, int]:
    """Return the number of negatives of each kind."""
    return dict(Counter(negative.source for row in negatives.values() for negative in row))
