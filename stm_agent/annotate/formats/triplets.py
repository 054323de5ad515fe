"""Training triplets of judged queries: a query, a relevant passage, and hard negatives, as JSONL and ``datasets``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import TypedDict

from stm_agent.annotate.services.outcome import Graded
from stm_agent.domain.collection import Collection
from stm_agent.errors import DataError
from stm_agent.files import whole_folder, write_atomic


class Triplet(TypedDict):
    """A query, a relevant passage, and passages that are not."""

    query_id: str
    split: str
    query: str
    answer: str
    positive: str
    grade: int
    negatives: list[str]


def triplets(collection: Collection, told: Graded) -> Iterator[Triplet]:
    """Yield a row for each relevant passage of a query.

    A negative is one that a person judged 0, never an unjudged passage.
    """
    texts = collection.texts
    queries = {key: text for split in collection.splits.values() for key, text in split.queries.items()}
    for query, grades in told.grades.items():
        negatives = [texts[document] for document, grade in grades.items() if grade == 0]
        for document, grade in grades.items():
            if grade > 0 and query in queries:
                yield {
                    "query_id": query,
                    "split": told.splits[query],
                    "query": queries[query],
                    "answer": told.answers.get(query, ""),
                    "positive": texts[document],
                    "grade": grade,
                    "negatives": negatives,
                }


def write_triplets(collection: Collection, told: Graded, folder: Path) -> int:
    """Write ``triplets.jsonl`` and ``dataset/`` into a new folder; return how many rows there are.

    Raises:
        DataError: No passage is judged relevant yet.
    """
    from datasets import Dataset, disable_progress_bars

    rows = list(triplets(collection, told))
    if not rows:
        raise DataError("no query has a passage judged relevant yet; there is nothing to train on")
    disable_progress_bars()
    with whole_folder(folder) as made:
        write_atomic(made / "triplets.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        Dataset.from_list(rows).save_to_disk(str(made / "dataset"))
    return len(rows)
