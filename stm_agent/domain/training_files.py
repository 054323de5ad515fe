"""Training sets in files: rows of JSONL, Parquet or a ``datasets`` folder, whose columns are sentence-transformers'."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stm_agent.domain.beir_files import json_object, lines_of
from stm_agent.errors import DataError, first_line, raised_as
from stm_agent.hub_faults import hub_fault

QUERY_COLUMNS = ("anchor", "query", "question", "sentence1", "sentence_A")
POSITIVE_COLUMNS = ("positive", "positives", "answer", "passage", "document", "response", "sentence2", "text")
SCORE_COLUMNS = ("score", "scores", "label", "labels")
REVIEW = frozenset({"query", "negative", "answer"})
"""Columns of a review of a passage (``reviews/`` of a workspace)."""
REVIEWED_RELEVANT = "false_negative"
"""Answer of a review: the passage is relevant to the query."""
_NEGATIVE = re.compile(r"negatives?(?:_(\d+))?")
RawRow = tuple[str, Mapping[str, object]]
"""("file:row", values by column)."""
FORMATS = "JSONL (.jsonl, .jsonl.gz), Parquet (.parquet), or a folder of these or of the datasets library"


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """One row of a training set.

    Attributes:
        query: What is asked.
        positives: Passages that answer it; of a graded pair the one that is graded.
        negatives: Passages that do not, in the order of their columns.
        scores: Numbers of the row, as they are there; empty: none.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    scores: tuple[float, ...]


def training_files(path: Path) -> list[Path]:
    """Return the files of a training set: the file itself, or those of the folder.

    Raises:
        DataError: The path does not exist.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"training set {path} does not exist; name {FORMATS}")
    return sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))


def read_training_rows(raw: Iterable[RawRow]) -> Iterator[tuple[str, TrainingRow | None]]:
    """Yield ("file:row", row) of a training set; None for a row without a query or a passage.

    The query is the first column found of ``anchor``, ``query``, ``question``, ``sentence1``; the passage that of
    ``positive``, ``answer``, ``passage``, ``document``, ``sentence2``, ``text``; ``negative``, ``negative_1`` ...
    and ``score``, ``scores`` or ``label`` are optional. Passages may be lists. Of reviews (``reviews/``), the passages
    that people found relevant are the positives.

    Args:
        raw: The rows as :func:`rows_of_path` or :func:`rows_of_hub` yield them.

    Raises:
        DataError: The set does not exist, cannot be read, or lacks a column.
    """
    for location, row in raw:
        if row.keys() >= REVIEW and "positive" not in row:
            yield location, _of_review(row)
            continue
        query, positive = _column(row, QUERY_COLUMNS), _column(row, POSITIVE_COLUMNS)
        if query is None or positive is None:
            raise DataError(
                f"{location} has columns {', '.join(sorted(row)) or 'none'}; a training set needs anchor (or query) "
                "and positive (or passage), and may have negative, negative_1 ... and score"
            )
        negatives = sorted(filter(_NEGATIVE.fullmatch, row), key=_number)
        passages = [text for name in negatives for text in _texts(row[name])]
        asked, answers = _texts(row[query]), _texts(row[positive])
        score = _column(row, SCORE_COLUMNS)
        if len(asked) != 1 or not answers:
            yield location, None
            continue
        scores = _scores(row[score], location) if score else ()
        yield (
            location,
            TrainingRow(query=asked[0], positives=tuple(answers), negatives=tuple(passages), scores=scores),
        )


def _of_review(row: Mapping[str, object]) -> TrainingRow | None:
    asked, passages = _texts(row["query"]), _texts(row["negative"])
    if row["answer"] != REVIEWED_RELEVANT or not asked or not passages:
        return None
    return TrainingRow(query=asked[0], positives=tuple(passages), negatives=(), scores=())


def _column(row: Mapping[str, object], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _number(name: str) -> int:
    found = _NEGATIVE.fullmatch(name)
    return int(found[1]) if found and found[1] else 0


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [text for text in values if isinstance(text, str) and text.strip()]


def _scores(value: object, location: str) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in values):
        raise DataError(f"{location} has score {value!r}; a score is a number or a list of numbers")
    return tuple(map(float, values))


def rows_of_hub(name: str, subset: str | None, split: str, revision: str | None) -> Iterator[RawRow]:
    """Yield ("name:row", row) of a data set on the Hub, which the ``datasets`` library fetches once and stores.

    Raises:
        DataError: It cannot be fetched.
    """
    from datasets import load_dataset

    def unreachable(error: BaseException) -> DataError:
        if fault := hub_fault(error, name, "dataset"):
            return DataError(f"cannot fetch data set {name} from the Hub: {fault}")
        return DataError(
            f"cannot fetch data set {name} from the Hub ({first_line(error)}); check name, subset and split, "
            "or save it to a folder and give its path"
        )

    with raised_as(unreachable):
        stored = load_dataset(name, subset, split=split, revision=revision)
    for number, row in enumerate(stored, 1):
        yield f"{name}:{number}", row


def rows_of_path(path: Path) -> Iterator[RawRow]:
    """Yield ("file:row", row) of a file, or of a folder of files.

    Raises:
        DataError: It does not exist, or is of another format.
    """
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        yield from _saved_rows(path)
        return
    files = [file for file in training_files(path) if file.name.endswith((".jsonl", ".jsonl.gz", ".parquet"))]
    if not files:
        raise DataError(f"training set {path} is none of {FORMATS}; convert it")
    for file in files:
        if file.suffix == ".parquet":
            yield from _parquet_rows(file)
        else:
            for number, line in lines_of(file):
                yield f"{file}:{number}", json_object(line, f"{file}:{number}")


def _parquet_rows(path: Path) -> Iterator[RawRow]:
    import pyarrow.parquet

    with raised_as(lambda error: _unreadable(path, error)):
        table = pyarrow.parquet.ParquetFile(path)
    number = 0
    for batch in table.iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield f"{path}:{number}", row


def _saved_rows(path: Path) -> Iterator[RawRow]:
    """Yield the rows of a folder that ``save_to_disk`` wrote; of several splits, those of train."""
    from datasets import DatasetDict, load_from_disk

    with raised_as(lambda error: _unreadable(path, error)):
        stored = load_from_disk(str(path))
    if isinstance(stored, DatasetDict):
        if "train" not in stored and len(stored) > 1:
            raise DataError(f"training set {path} has splits {', '.join(map(str, stored))}; one must be train")
        stored = stored["train"] if "train" in stored else next(iter(stored.values()))
    for number, row in enumerate(stored, 1):
        yield f"{path}:{number}", row


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(f"cannot read training set {path} ({first_line(error)}); write it again")
