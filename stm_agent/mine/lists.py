"""Scored lists: for each pair the teacher's score of its positive and of other passages, in memory and on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from stm_agent.domain.data import Pair
from stm_agent.errors import DataError

POSITIVE, CANDIDATE = "positive", "candidate"
FOLDER = "candidates"
"""The ``datasets`` folder of a stage in which lists are stored."""
COLUMNS = ("pair", "query", "role", "passage_id", "text", "score")


@dataclass(frozen=True)
class Candidate:
    """A passage that a teacher scored for a query.

    Attributes:
        text: The passage.
        passage_id: Its id in the pool.
        score: The teacher's score, higher is more relevant.
    """

    text: str
    passage_id: str
    score: float


@dataclass(frozen=True)
class ScoredList:
    """A teacher's opinion of one pair.

    Attributes:
        positive: Score of the pair's positive.
        candidates: Other passages; hard and easier ones alternate, so that every part of the list has both.
    """

    positive: float
    candidates: tuple[Candidate, ...]


Lists = Mapping[str, ScoredList]
"""Pair id -> scored list."""
NO_LISTS: Lists = {}


def lists_content(lists: Lists) -> list[object]:
    """Return everything of the lists that training depends on, as JSON values."""
    return [
        [pair, row.positive, [[candidate.text, candidate.score] for candidate in row.candidates]]
        for pair, row in lists.items()
    ]


def save_lists(folder: Path, pairs: Sequence[Pair], lists: Lists) -> None:
    """Write ``folder/candidates``, a ``datasets`` folder with the columns of :data:`COLUMNS`; positives come first."""
    from datasets import Dataset, Features, Value, disable_progress_bars

    disable_progress_bars()
    rows: list[tuple[str, str, str, str, str, float]] = []
    for pair in pairs:
        if (scored := lists.get(pair.id)) is None:
            continue
        rows.append((pair.id, pair.query, POSITIVE, "", pair.positive, scored.positive))
        rows += [(pair.id, pair.query, CANDIDATE, c.passage_id, c.text, c.score) for c in scored.candidates]
    features = Features({name: Value("float64" if name == "score" else "string") for name in COLUMNS})
    columns = {name: [row[index] for row in rows] for index, name in enumerate(COLUMNS)}
    # Of no rows datasets would write no file, which it then cannot read.
    shards = None if rows else 1
    Dataset.from_dict(columns, features=features).save_to_disk(str(folder / FOLDER), num_shards=shards)


class ListRow(TypedDict):
    """A passage with its score, as it is stored."""

    pair: str
    query: str
    role: str
    passage_id: str
    text: str
    score: float


def read_rows(folder: Path) -> Iterable[ListRow]:
    """Return the rows that :func:`save_lists` wrote.

    Raises:
        DataError: The folder holds no such dataset.
    """
    from datasets import load_from_disk

    try:
        stored: Iterable[ListRow] = load_from_disk(str(folder / FOLDER))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{folder} holds no teacher scores ({reason}); remove it and run again") from error
    return stored


def load_lists(folder: Path) -> dict[str, ScoredList]:
    """Read what :func:`save_lists` wrote.

    Raises:
        DataError: The folder holds no such dataset.
    """
    positives: dict[str, float] = {}
    candidates: dict[str, list[Candidate]] = {}
    for row in read_rows(folder):
        if row["role"] == POSITIVE:
            positives[row["pair"]] = row["score"]
        else:
            candidate = Candidate(row["text"], row["passage_id"], row["score"])
            candidates.setdefault(row["pair"], []).append(candidate)
    return {pair: ScoredList(score, tuple(candidates.get(pair, ()))) for pair, score in positives.items()}
