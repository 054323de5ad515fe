"""Training rows: pairs with as many hard negatives as the expert asked for, and a count of what was short."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.errors import DataError
from stm_agent.files import sha256_text
from stm_agent.mine.negatives import Negative

logger = logging.getLogger(__name__)

COPIES = 4
"""Different choices of structural negatives and aliases that a row goes through."""


@dataclass(frozen=True)
class Rows:
    """Columns for sentence-transformers' trainer.

    Attributes:
        columns: ``query``, ``positive``, ``related_1`` ..., ``negative_1`` ..., ``alias``; equally long lists of
            texts. The rows come ``copies`` times over, each time with the next structural negatives and alias.
        groups: Group of each row of one copy; two rows of one group never share a batch.
        sources: Training source of each row of one copy.
        neighbours: Rows whose positive is a structural neighbour of each row, where the expert asked for them.
        copies: How often the rows are repeated in ``columns``.
        grades: Grade of each passage column, row by row of ``columns``; 1 for the positive. Empty: not asked for.
        skipped: Rows left out, and negatives that were short, by reason.
    """

    columns: dict[str, list[str]]
    groups: list[str]
    skipped: dict[str, int]
    sources: list[str] = field(default_factory=list)
    neighbours: list[list[int]] = field(default_factory=list)
    copies: int = 1
    grades: list[list[float]] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of rows of one copy."""
        return len(self.groups)

    def texts(self) -> list[list[str]]:
        """Return for each row every text it can bring into a batch."""
        count = len(self)
        return [
            [column[row + count * copy] for copy in range(self.copies) for column in self.columns.values()]
            for row in range(count)
        ]


def training_rows(
    pairs: Sequence[Pair],
    negatives: Mapping[str, tuple[Negative, ...]],
    expert: ExpertSpec,
    *,
    query_prefix: str = "",
    passage_prefix: str = "",
    prompts: Sequence[str] = (),
) -> Rows:
    """Make rows of pairs; prefixes are written into the texts, as at inference.

    Where there are ``prompts``, each query has one of them in place of ``query_prefix``, drawn by the hash of its pair,
    another one in each copy of the rows.

    A pair that lacks hard negatives is filled up from its structural neighbours, then from other rows'
    positives (a random negative, as the batch has anyway); both are counted.

    Raises:
        DataError: No usable row is left.
    """
    skipped: dict[str, int] = {}
    usable = _usable(pairs, skipped)
    if not usable:
        raise DataError(
            f"expert {expert.name} has no usable training pair; check its sources: {', '.join(expert.sources)}"
        )
    copies = _copies(usable, expert)
    drawn = [[_drawn(prompts or [query_prefix], pair, copy) for pair in usable] for copy in range(copies)]
    columns: dict[str, list[str]] = {
        "query": [drawn[copy][row] + pair.query for copy in range(copies) for row, pair in enumerate(usable)],
        "positive": [passage_prefix + pair.positive for pair in usable] * copies,
    }
    related = [_related(pair, index, usable, expert.related, skipped) for index, pair in enumerate(usable)]
    for number in range(expert.related):
        columns[f"related_{number + 1}"] = [passage_prefix + row[number][0] for row in related] * copies
    picked = [
        _pick(pair, negatives.get(pair.id, ()), expert, usable, index, skipped, copy)
        for copy in range(copies)
        for index, pair in enumerate(usable)
    ]
    for number in range(expert.hard_negatives):
        columns[f"negative_{number + 1}"] = [passage_prefix + texts[number] for texts in picked]
    if expert.alias_weight:
        columns["alias"] = [
            drawn[copy][row] + _alias(pair, copy, skipped) for copy in range(copies) for row, pair in enumerate(usable)
        ]
    for reason, count in skipped.items():
        logger.warning("expert %s: %d rows: %s", expert.name, count, reason)
    nothing = [0.0] * expert.hard_negatives
    return Rows(
        columns,
        [pair.group for pair in usable],
        skipped,
        sources=[pair.source for pair in usable],
        neighbours=_neighbours(usable) if expert.neighbours else [],
        copies=copies,
        grades=[[1.0, *(grade for _, grade in row), *nothing] for row in related] * copies,
    )


def _drawn(prompts: Sequence[str], pair: Pair, copy: int) -> str:
    """Return the prompt of a pair's query; a seeded draw that no batch order changes."""
    return prompts[(int(sha256_text(pair.id)[:8], 16) + copy) % len(prompts)]


def _copies(pairs: Sequence[Pair], expert: ExpertSpec) -> int:
    """Return how many passes it takes until a row has shown all it has, :data:`COPIES` at most."""
    kinds = (
        max(len(pair.structural) for pair in pairs) if expert.negatives.structural else 1,
        max(len(pair.aliases) for pair in pairs) if expert.alias_weight else 1,
    )
    return max(1, min(COPIES, max(kinds)))


def _alias(pair: Pair, copy: int, skipped: dict[str, int]) -> str:
    if pair.aliases:
        return pair.aliases[copy % len(pair.aliases)]
    if not copy:
        _count(skipped, "no other name, the query stands for it")
    return pair.query


def _neighbours(pairs: Sequence[Pair]) -> list[list[int]]:
    rows: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        rows.setdefault(pair.positive, []).append(row)
    return [[row for text in pair.structural for row in rows.get(text, ())] for pair in pairs]


def _usable(pairs: Sequence[Pair], skipped: dict[str, int]) -> list[Pair]:
    """Return the pairs that can teach something; the others are counted by reason."""
    usable, seen = [], set()
    for pair in pairs:
        if reason := _fault(pair):
            _count(skipped, reason)
        elif (key := (plain(pair.query), plain(pair.positive))) in seen:
            _count(skipped, "the same query and positive again, left out")
        else:
            seen.add(key)
            usable.append(pair)
    return usable


def _fault(pair: Pair) -> str | None:
    if not isinstance(pair.query, str) or not isinstance(pair.positive, str):
        return "not text, left out"
    if not pair.query.strip() or not pair.positive.strip():
        return "empty text, left out"
    return "query is its own positive, left out" if plain(pair.query) == plain(pair.positive) else None


def plain(text: str) -> str:
    """Return a text in lower case with single spaces."""
    return " ".join(text.lower().split())


def _count(skipped: dict[str, int], reason: str) -> None:
    skipped[reason] = skipped.get(reason, 0) + 1


def _related(
    pair: Pair, index: int, pairs: Sequence[Pair], width: int, skipped: dict[str, int]
) -> list[tuple[str, float]]:
    """Return ``width`` less relevant passages and their grades; a random one of grade 0 where there are too few."""
    row = list(pair.related[:width])
    for text in _others(pair, index, pairs, width - len(row)):
        row.append((text, 0.0))
        _count(skipped, "related passage missing, a random one taken")
    return row


def _others(pair: Pair, index: int, pairs: Sequence[Pair], width: int) -> list[str]:
    """Return positives of other groups, by a stride that no batch order knows; of any group where there is but one."""
    found: list[str] = []
    step = 1
    while len(found) < width:
        other = pairs[(index + 7919 * step) % len(pairs)]
        step += 1
        if other.group != pair.group or step > len(pairs):
            found.append(other.positive)
    return found


def _pick(
    pair: Pair,
    found: Sequence[Negative],
    expert: ExpertSpec,
    pairs: Sequence[Pair],
    index: int,
    skipped: dict[str, int],
    copy: int = 0,
) -> list[str]:
    asked = expert.negatives
    positive = plain(pair.positive)
    given = [negative.text for negative in found]
    texts = [text for text in given if plain(text) != positive][: asked.mined + asked.synthetic]
    if not copy and any(plain(text) == positive for text in given):
        _count(skipped, "negative is the positive, left out")
    short = asked.mined + asked.synthetic - len(texts)
    # Another pass shows other neighbours: always the same one is learnt by heart.
    turned = copy * asked.structural % max(1, len(pair.structural))
    texts += [*pair.structural[turned:], *pair.structural[:turned]][: asked.structural + short]
    for text in _others(pair, index, pairs, expert.hard_negatives - len(texts)):
        texts.append(text)
        if not copy:
            _count(skipped, "hard negative missing, a random one taken")
    return texts
