"""TREC's two formats: qrels (``query 0 document grade``) and runs (``query Q0 document rank score tag``)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from stm_agent.errors import DataError

Qrels = Mapping[str, Mapping[str, int]]


def write_qrels(qrels: Qrels) -> str:
    """Return judgements as a qrels file; judged 0 is a line, unjudged is none.

    Raises:
        DataError: An id has a space in it, which the format cannot hold.
    """
    for name in (*qrels, *(document for grades in qrels.values() for document in grades)):
        if len(name.split()) != 1:
            raise DataError(f"the id '{name}' has a space, which qrels cannot hold; export beir, or rename it")
    return "".join(
        f"{query} 0 {document} {grade}\n" for query, grades in qrels.items() for document, grade in grades.items()
    )


def is_qrels(text: str) -> bool:
    """Return whether a file of TREC's is qrels, by its first line; else it is a run."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return len(first.split()) == 4


def read_qrels(text: str) -> dict[str, dict[str, int]]:
    """Read a qrels file.

    Raises:
        DataError: A line does not have four columns, or its grade is not an integer.
    """
    found: dict[str, dict[str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 4:
            raise DataError(f"qrels line {number} has {len(parts)} parts; write 'query 0 document grade'")
        try:
            found.setdefault(parts[0], {})[parts[2]] = int(parts[3])
        except ValueError as error:
            raise DataError(f"qrels line {number}: grade '{parts[3]}' is not an integer") from error
    return found


def read_run(text: str) -> tuple[str, dict[str, dict[str, float]]]:
    """Read a run; return its tag and query -> document -> score.

    Raises:
        DataError: A line does not have six columns, a score is not a number, or a query has a document twice.
    """
    found: dict[str, dict[str, float]] = {}
    tag = "run"
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 6:
            raise DataError(f"run line {number} has {len(parts)} parts; write 'query Q0 document rank score tag'")
        query, _, document, _, value, tag = parts
        try:
            score = float(value)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise DataError(f"run line {number}: score '{value}' is not a number")
        if document in found.setdefault(query, {}):
            raise DataError(f"run line {number}: query {query} has document {document} twice")
        found[query][document] = score
    return tag, found
