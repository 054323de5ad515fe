"""Training rows: pairs with as many hard negatives as the expert asks for, and a count of what was missing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.domain.text import draw, fold
from stm_agent.errors import DataError
from stm_agent.mine.lists import NO_LISTS, Lists
from stm_agent.mine.negatives import Negative
from stm_agent.train.scored_rows import COLUMN, copies_of_lists, scored_columns, with_scores

logger = logging.getLogger(__name__)

COPIES = 4
"""Largest number of copies of a row, each with other structural negatives and another alias."""
STRIDE = 7919
"""Rows between a pair and the next random negative: a prime, so that small data sets are walked through in full."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Columns for sentence-transformers' trainer.

    Attributes:
        columns: ``query``, ``positive``, ``related_1`` ..., ``negative_1`` ..., ``alias``, for loss ``distil``
            ``candidate_1`` ...; equally long lists of texts. All rows are repeated ``copies`` times, each time with the
            next structural negatives, alias and candidates.
        groups: Group of each row of one copy; two rows of one group never share a batch.
        skipped: Rows left out and negatives missing, by reason.
        sources: Training source of each row of one copy.
        neighbours: For each row, the rows whose positive is its structural neighbour; empty if not asked for.
        copies: How often the rows are repeated in ``columns``.
        grades: Grade of each passage column, for each row of ``columns``, 1 for the positive; for loss ``distil`` the
            teacher's scores.
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
        """Return for each row every text that another row of its batch may be compared with."""
        count = len(self)
        # A candidate is compared with its own row's query only.
        columns = [column for name, column in self.columns.items() if not name.startswith(COLUMN)]
        return [
            [column[row + count * copy] for copy in range(self.copies) for column in columns] for row in range(count)
        ]


def training_rows(
    pairs: Sequence[Pair],
    negatives: Mapping[str, tuple[Negative, ...]],
    expert: ExpertSpec,
    *,
    query_prefix: str = "",
    passage_prefix: str = "",
    prompts: Sequence[str] = (),
    lists: Lists = NO_LISTS,
) -> Rows:
    """Make rows of pairs; prefixes are part of the texts, as at inference.

    A pair that lacks hard negatives gets structural neighbours, then other rows' positives (random negatives, which
    the batch has anyway). Both are counted and logged.

    Args:
        pairs: Training pairs.
        negatives: Pair id -> hard negatives, hardest first.
        expert: How many negatives, related passages and aliases a row has.
        query_prefix: Text in front of every query.
        passage_prefix: Text in front of every passage.
        prompts: Texts of which each query has one instead of ``query_prefix``: drawn by the hash of its pair, and the
            next one in each further copy.
        lists: Pair id -> a teacher's scores, for loss ``distil``.

    Raises:
        DataError: No pair is usable.
    """
    skipped: Counter[str] = Counter()
    usable = _trained_on(pairs, expert, lists, skipped)
    table = _Table(usable, expert, _count_copies(usable, expert, lists), skipped)
    prefixes, related = prompts or [query_prefix], table.related()
    columns = table.queries(prefixes) | table.passages(related, negatives, passage_prefix) | table.aliases(prefixes)
    grades = table.grades(related)
    if expert.learns_from_scores:
        added, grades = scored_columns(usable, lists, expert, table.copies, passage_prefix, skipped)
        columns |= added
    for reason, count in skipped.items():
        logger.warning("expert %s: %d rows: %s", expert.name, count, reason)
    return Rows(
        columns=columns,
        groups=[pair.group for pair in usable],
        skipped=dict(skipped),
        sources=[pair.source for pair in usable],
        neighbours=_neighbours(usable) if expert.neighbours else [],
        copies=table.copies,
        grades=grades,
    )


@dataclass(frozen=True)
class _Table:
    """The columns of one expert's rows, all copies of the first row's pair, then of the next."""

    pairs: Sequence[Pair]
    expert: ExpertSpec
    copies: int
    skipped: Counter[str]

    def queries(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """Return the queries, each with the prompt of its copy."""
        return {
            "query": [_prompt(prompts, pair, copy) + pair.query for copy in range(self.copies) for pair in self.pairs]
        }

    def related(self) -> list[list[tuple[str, float]]]:
        """Return for each pair its less relevant passages and their grades; random ones of grade 0 fill it up."""
        rows = []
        for index, pair in enumerate(self.pairs):
            row = list(pair.related[: self.expert.related])
            for text in _others(index, self.pairs, self.expert.related - len(row)):
                row.append((text, 0.0))
                self.skipped["related passage missing, a random one taken"] += 1
            rows.append(row)
        return rows

    def grades(self, related: Sequence[Sequence[tuple[str, float]]]) -> list[list[float]]:
        """Return the grade of each passage column in every row."""
        zeros = [0.0] * self.expert.hard_negatives
        return [[1.0, *(grade for _, grade in row), *zeros] for row in related] * self.copies

    def passages(
        self,
        related: Sequence[Sequence[tuple[str, float]]],
        negatives: Mapping[str, tuple[Negative, ...]],
        prefix: str,
    ) -> dict[str, list[str]]:
        """Return the positives, related passages and hard negatives."""
        columns = {"positive": [prefix + pair.positive for pair in self.pairs] * self.copies}
        for number in range(self.expert.related):
            columns[f"related_{number + 1}"] = [prefix + row[number][0] for row in related] * self.copies
        rows = [
            self._negatives(index, [negative.text for negative in negatives.get(pair.id, ())], copy)
            for copy in range(self.copies)
            for index, pair in enumerate(self.pairs)
        ]
        for number in range(self.expert.hard_negatives):
            columns[f"negative_{number + 1}"] = [prefix + texts[number] for texts in rows]
        return columns

    def aliases(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """Return another name for each positive, with the prompt of its copy; no column if it has no weight."""
        if not self.expert.alias_weight:
            return {}
        rows = [(copy, pair) for copy in range(self.copies) for pair in self.pairs]
        return {"alias": [_prompt(prompts, pair, copy) + self._alias(pair, copy) for copy, pair in rows]}

    def _alias(self, pair: Pair, copy: int) -> str:
        if pair.aliases:
            return pair.aliases[copy % len(pair.aliases)]
        if not copy:
            self.skipped["no other name, the query stands for it"] += 1
        return pair.query

    def _negatives(self, index: int, found: Sequence[str], copy: int) -> list[str]:
        """Return one row's hard negatives; faults are counted in the first copy only."""
        pair, numbers = self.pairs[index], self.expert.negatives
        wanted = numbers.mined + numbers.synthetic
        positive = fold(pair.positive)
        texts = [text for text in found if fold(text) != positive][:wanted]
        if not copy and any(fold(text) == positive for text in found):
            self.skipped["negative is the positive, left out"] += 1
        missing = wanted - len(texts)
        # Every copy begins with other neighbours: the same ones each time would be learnt by heart.
        first = copy * numbers.structural % max(1, len(pair.structural))
        texts += [*pair.structural[first:], *pair.structural[:first]][: numbers.structural + missing]
        for text in _others(index, self.pairs, self.expert.hard_negatives - len(texts)):
            texts.append(text)
            self.skipped["hard negative missing, a random one taken"] += not copy
        return texts


def _prompt(prompts: Sequence[str], pair: Pair, copy: int) -> str:
    return prompts[draw(pair.id, len(prompts), offset=copy)]


def _count_copies(pairs: Sequence[Pair], expert: ExpertSpec, lists: Lists) -> int:
    """Return how many copies it takes until a row has shown all it has, at most :data:`COPIES`."""
    kinds = (
        max(len(pair.structural) for pair in pairs) if expert.negatives.structural else 1,
        max(len(pair.aliases) for pair in pairs) if expert.alias_weight else 1,
        copies_of_lists(pairs, lists, expert) if expert.learns_from_scores else 1,
    )
    return max(1, min(COPIES, max(kinds)))


def _neighbours(pairs: Sequence[Pair]) -> list[list[int]]:
    rows: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        rows.setdefault(pair.positive, []).append(row)
    return [[row for text in pair.structural for row in rows.get(text, ())] for pair in pairs]


def _trained_on(pairs: Sequence[Pair], expert: ExpertSpec, lists: Lists, skipped: Counter[str]) -> list[Pair]:
    """Return the pairs an expert is trained on; raise if there are none."""
    usable = _usable(pairs, skipped)
    if expert.learns_from_scores:
        usable = with_scores(usable, lists, skipped)
    if not usable:
        raise DataError(
            f"expert {expert.name} has no usable training pair; check its sources: {', '.join(expert.sources)}"
        )
    return usable


def _usable(pairs: Sequence[Pair], skipped: Counter[str]) -> list[Pair]:
    """Return the pairs that can teach something; count the others by reason."""
    usable, seen = [], set()
    for pair in pairs:
        if fault := _fault(pair):
            skipped[fault] += 1
        elif (key := (fold(pair.query), fold(pair.positive))) in seen:
            skipped["the same query and positive again, left out"] += 1
        else:
            seen.add(key)
            usable.append(pair)
    return usable


def _fault(pair: Pair) -> str | None:
    if not isinstance(pair.query, str) or not isinstance(pair.positive, str):
        return "not text, left out"
    if not pair.query.strip() or not pair.positive.strip():
        return "empty text, left out"
    return "query is its own positive, left out" if fold(pair.query) == fold(pair.positive) else None


def _others(index: int, pairs: Sequence[Pair], count: int) -> list[str]:
    """Return positives of other groups, :data:`STRIDE` rows apart; of the pair's own group if it is the only one."""
    texts: list[str] = []
    step = 1
    while len(texts) < count:
        other = pairs[(index + STRIDE * step) % len(pairs)]
        step += 1
        if other.group != pairs[index].group or step > len(pairs):
            texts.append(other.positive)
    return texts
