"""Negatives on disk: a ``datasets`` folder with one row for each negative and its origin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from stm_agent.domain.data import Pair
from stm_agent.errors import DataError
from stm_agent.mine.negatives import Negative

COLUMNS = ("pair", "query", "positive", "negative", "kind", "passage_id", "score", "provenance")


def save_negatives(folder: Path, pairs: Sequence[Pair], negatives: Mapping[str, tuple[Negative, ...]]) -> None:
    """Write ``folder/negatives``, a ``datasets`` folder with the columns of :data:`COLUMNS`."""
    from datasets import Dataset, Features, Value, disable_progress_bars

    disable_progress_bars()

    rows = [
        (pair.id, pair.query, pair.positive, n.text, n.source, n.passage_id, n.score, json.dumps(dict(n.provenance)))
        for pair in pairs
        for n in negatives.get(pair.id, ())
    ]
    features = Features({name: Value("float64" if name == "score" else "string") for name in COLUMNS})
    columns = {name: [row[index] for row in rows] for index, name in enumerate(COLUMNS)}
    # Of no rows datasets would write no file, which it then cannot read.
    Dataset.from_dict(columns, features=features).save_to_disk(
        str(folder / "negatives"), num_shards=None if rows else 1
    )


def load_negatives(folder: Path) -> dict[str, tuple[Negative, ...]]:
    """Read what :func:`save_negatives` wrote; return pair id -> negatives in their order.

    Raises:
        DataError: The folder holds no such dataset.
    """
    from datasets import load_from_disk

    try:
        stored = load_from_disk(str(folder / "negatives"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} holds no negatives ({str(error).splitlines()[0]}); remove it and run again"
        ) from error
    negatives: dict[str, list[Negative]] = {}
    for row in stored:
        provenance = tuple(sorted(json.loads(row["provenance"]).items()))
        negative = Negative(row["negative"], row["kind"], row["passage_id"], row["score"], provenance)
        negatives.setdefault(row["pair"], []).append(negative)
    return {pair: tuple(group) for pair, group in negatives.items()}
