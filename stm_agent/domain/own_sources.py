"""Named training sources beside the train split: files, other collections, and parts cut by a field."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from stm_agent.domain.beir_files import packed_or_plain, rows_of
from stm_agent.domain.collection_spec import BeirCollection, MtebCollection, SourceSpec, TrainingCollection
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.text import normalise
from stm_agent.domain.training_files import RawRow, TrainingRow, read_training_rows, rows_of_hub, rows_of_path
from stm_agent.errors import DataError

logger = logging.getLogger(__name__)
TRAIN = "train"
Rows = Iterable[RawRow]
"""("file:row", row), as they are stored."""


def add_sources(
    data: DomainData,
    spec: BeirCollection | MtebCollection,
    workspace: Path,
    build: Callable[[TrainingCollection], DomainData],
) -> DomainData:
    """Return a collection's data with the sources that its domain file names.

    A query whose text is a train query's joins that one's group, so that neither's positives become the other's
    negatives. Queries that are dev or test queries are left out and counted.

    Args:
        data: The collection's own data.
        spec: Where the sources come from.
        workspace: What a relative path is relative to.
        build: Makes the training pairs of another collection.

    Raises:
        DataError: A source cannot be read, or gives no pair.
    """
    if not spec.sources:
        return data
    adder = _Adder(data)
    for source in spec.sources:
        if source.collection is not None:
            pairs = adder.from_collection(source.name, build(source.collection))
        elif source.path is not None:
            pairs = adder.from_rows(source, rows_of_path(workspace / source.path))
        elif source.hub is not None:
            pairs = adder.from_rows(source, rows_of_hub(source.hub, source.subset, source.split, source.revision))
        elif isinstance(spec, BeirCollection):
            pairs = _by_field(source, data, workspace / spec.path)
        else:
            raise DataError(f"source '{source.name}': only documents of a BEIR folder have fields to cut train by")
        if not pairs:
            raise DataError(f"source '{source.name}' has no usable training pair; correct or remove it")
        adder.sources[source.name] = pairs
    return dataclasses.replace(data, sources=adder.sources, groups=adder.groups, pool=adder.pool)


class _Adder:
    """The sources and groups of a domain while sources are added."""

    def __init__(self, data: DomainData) -> None:
        self.sources: dict[str, tuple[Pair, ...]] = dict(data.sources)
        self.groups: dict[str, frozenset[str]] = dict(data.groups)
        self.pool: dict[str, str] = dict(data.pool)
        pairs = (pair for pairs in data.sources.values() for pair in pairs)
        self._group_of = {normalise(pair.query): pair.group for pair in pairs}
        splits = (split for name, split in data.collection.splits.items() if name != TRAIN)
        self._held = {normalise(text) for split in splits for text in split.queries.values()}
        self._ids: dict[str, list[str]] = {}
        for key, text in data.pool.items():
            self._ids.setdefault(normalise(text), []).append(key)

    def from_collection(self, name: str, other: DomainData) -> tuple[Pair, ...]:
        """Return all training pairs of another collection, whose passages join the pool."""
        for key, text in other.pool.items():
            self.pool[f"{name}:{key}"] = text
            self._ids.setdefault(normalise(text), []).append(f"{name}:{key}")
        pairs, left_out = [], 0
        for pair in (pair for pairs in other.sources.values() for pair in pairs):
            if normalise(pair.query) in self._held:
                left_out += 1
                continue
            group = self._join(f"{name}:{pair.group}", pair.query, [pair.positive])
            near = frozenset(f"{name}:{key}" for key in other.groups.get(pair.group, ()))
            self.groups[group] |= near
            pairs.append(dataclasses.replace(pair, id=f"{name}:{pair.id}", source=name, group=group))
        if left_out:
            logger.warning("source %s: %d pairs have dev or test queries; left out", name, left_out)
        return tuple(pairs)

    def from_rows(self, source: SourceSpec, raw: Rows) -> tuple[Pair, ...]:
        """Return the pairs of a training set; rows that cannot be used are counted."""
        skipped: Counter[str] = Counter()
        rows: list[tuple[int, str, TrainingRow]] = []
        for number, (location, row) in enumerate(read_training_rows(_of_values(source, raw)), 1):
            if row is None:
                skipped["have no query or no passage"] += 1
            elif normalise(row.query) in self._held:
                skipped["are dev or test queries"] += 1
            else:
                rows.append((number, location, row))
        graded = [entry for entry in rows if _is_graded(entry[2])]
        pairs = [pair for entry in rows if not _is_graded(entry[2]) for pair in self._pairs(source.name, *entry)]
        pairs += self._graded_pairs(source, graded)
        for reason, count in skipped.items():
            logger.warning("source %s: %d rows %s; left out", source.name, count, reason)
        return tuple(pairs)

    def _pairs(self, name: str, number: int, location: str, row: TrainingRow) -> list[Pair]:
        group = self._join(f"{name}:{number}", row.query, row.positives)
        scores = _teacher_scores(row, location)
        return [
            Pair(
                f"{name}:{number}/{position}", row.query, positive, name, group, structural=row.negatives, scores=scores
            )
            for position, positive in enumerate(row.positives, 1)
        ]

    def _graded_pairs(self, source: SourceSpec, rows: Sequence[tuple[int, str, TrainingRow]]) -> list[Pair]:
        """Return pairs of rows that grade one passage each: better grades are positives, the others negatives."""
        grades: dict[str, dict[str, float]] = {}
        first: dict[str, tuple[int, str]] = {}
        for number, location, row in rows:
            if len(row.scores) != 1 or len(row.positives) != 1:
                raise DataError(f"{location} has {len(row.scores)} scores for {len(row.positives)} passages; give one")
            key = normalise(row.query)
            first.setdefault(key, (number, row.query))
            grades.setdefault(key, {})[row.positives[0]] = row.scores[0]
        pairs = []
        for key, row_grades in grades.items():
            number, query = first[key]
            relevant = {text: grade for text, grade in row_grades.items() if grade > source.min_score}
            negatives = tuple(text for text in row_grades if text not in relevant)
            group = self._join(f"{source.name}:{number}", query, relevant) if relevant else ""
            for position, (text, grade) in enumerate(relevant.items(), 1):
                name = f"{source.name}:{number}/{position}"
                related = _less_relevant(relevant, grade)
                pairs.append(Pair(name, query, text, source.name, group, structural=negatives, related=related))
        return pairs

    def _join(self, name: str, query: str, positives: Iterable[str]) -> str:
        """Return the group of a query's text, with the passages of the pool that have a positive's text."""
        group = self._group_of.setdefault(normalise(query), name)
        ids = {key for text in positives for key in self._ids.get(normalise(text), ())}
        self.groups[group] = self.groups.get(group, frozenset()) | ids
        return group


def _of_values(source: SourceSpec, raw: Rows) -> Iterator[RawRow]:
    """Yield the rows of a source that is cut by a column; all rows of one that is not.

    Raises:
        DataError: A row lacks the column, or no row has one of the values.
    """
    if source.by is None:
        yield from raw
        return
    counted: Counter[str] = Counter()
    for location, row in raw:
        if source.by not in row:
            raise DataError(f"{location} has no column {source.by}, which source '{source.name}' is cut by")
        value = str(row[source.by])
        counted[value] += 1
        if value in source.wanted:
            yield location, row
    if not counted.keys() & source.wanted:
        raise DataError(_no_such_value(source, counted, "row"))


def _no_such_value(source: SourceSpec, counted: Counter[str], thing: str) -> str:
    common = ", ".join(name for name, _ in counted.most_common(8)) or "none"
    values = " or ".join(sorted(source.wanted))
    return f"source '{source.name}': no {thing} with {source.by} {values}; the commonest values are {common}"


def _is_graded(row: TrainingRow) -> bool:
    """Return whether a row grades one passage, rather than naming a positive."""
    return bool(row.scores) and not row.negatives


def _less_relevant(relevant: Mapping[str, float], grade: float) -> tuple[tuple[str, float], ...]:
    less = sorted((-other, text) for text, other in relevant.items() if 0 < other < grade)
    return tuple((text, -other / grade) for other, text in less)


def _teacher_scores(row: TrainingRow, location: str) -> tuple[float, ...]:
    """Return a teacher's scores of positive and negatives.

    As many scores as negatives are margins, as for sentence-transformers' ``MarginMSELoss``: what the positive is ahead
    of each negative; with one more they are the scores themselves.
    """
    if not row.scores:
        return ()
    if len(row.positives) == 1 and len(row.scores) == len(row.negatives) + 1:
        return row.scores
    if len(row.positives) == 1 and len(row.scores) == len(row.negatives):
        return (0.0, *(-margin for margin in row.scores))
    raise DataError(
        f"{location} has {len(row.scores)} scores, {len(row.positives)} positives and {len(row.negatives)} negatives; "
        "give one score for each passage, or one margin for each negative"
    )


def _by_field(source: SourceSpec, data: DomainData, folder: Path) -> tuple[Pair, ...]:
    """Return the train pairs whose passage has one of the source's values in a field of ``corpus.jsonl``."""
    field, wanted = source.by or "", source.wanted
    values: dict[str, frozenset[str]] = {}
    counted: Counter[str] = Counter()
    for _location, row in rows_of(packed_or_plain(folder / "corpus.jsonl")):
        metadata = row.get("metadata")
        value = metadata[field] if isinstance(metadata, dict) and field in metadata else row.get(field)
        own = frozenset(str(entry) for entry in (value if isinstance(value, list) else [value]) if entry is not None)
        text = data.pool[row["_id"]]
        values[text] = values.get(text, frozenset()) | own
        counted.update(own)
    pairs = tuple(
        dataclasses.replace(pair, id=f"{source.name}:{pair.id}", source=source.name)
        for pair in data.sources.get(TRAIN, ())
        if values[pair.positive] & wanted
    )
    if not pairs:
        raise DataError(_no_such_value(source, counted, "train pair has a document"))
    return pairs
