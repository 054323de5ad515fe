"""What each row of a report found first for each test query: ``test_answers.json``, for the page of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from stm_agent.domain.collection import Split
from stm_agent.errors import StorageError
from stm_agent.files import read_json, write_json

ANSWERS = "test_answers.json"
SCHEMA = 1
First = Mapping[str, Sequence[str]]
"""Query id -> ids of its best documents, best first."""


class Answers(TypedDict):
    """The opened test queries, their relevant documents with grades, and the first documents of each row."""

    schema: int
    queries: dict[str, str]
    relevant: dict[str, dict[str, int]]
    rows: dict[str, dict[str, list[str]]]
    synthetic: NotRequired[bool]


def write_answers(run: Path, split: Split, rows: Mapping[str, First]) -> None:
    """Write the file; only after test was opened, since it holds the test queries and their judgements."""
    answers: Answers = {
        "schema": SCHEMA,
        "queries": dict(split.queries),
        "relevant": {
            query: {name: grade for name, grade in grades.items() if grade > 0} for query, grades in split.qrels.items()
        },
        "rows": {row: {query: list(names) for query, names in first.items()} for row, first in rows.items()},
        "synthetic": split.synthetic,
    }
    write_json(run / ANSWERS, answers)


def read_answers(run: Path) -> Answers | None:
    """Return what a run found on test; None: test is closed, or another version of stm-agent made the run."""
    try:
        answers: Answers = read_json(run / ANSWERS)
    except StorageError:
        return None
    return answers if answers.get("schema") == SCHEMA else None
