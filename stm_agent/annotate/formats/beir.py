"""What a BEIR folder asks: all its queries, and judgements that need not be good enough to score on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stm_agent.annotate.formats.trec import Qrels
from stm_agent.domain.collection import read_answers, read_grades, read_queries
from stm_agent.errors import DataError


@dataclass(frozen=True)
class Asked:
    """Queries and what is judged of them.

    Attributes:
        queries: Query -> text, judged or not.
        answers: Query -> answer, where there is one.
        grades: Split, as its file is called -> query -> document -> grade; ids of either may be unknown.
    """

    queries: Mapping[str, str]
    answers: Mapping[str, str]
    grades: Mapping[str, Qrels]


def read_asked(folder: Path) -> Asked | None:
    """Read ``queries.jsonl`` and ``qrels/`` of a BEIR folder, where either is there.

    Raises:
        DataError: One is malformed, a file judges the same twice and differently, or ``qrels/`` has no judgements.
    """
    asked, judged = folder / "queries.jsonl", folder / "qrels"
    if not asked.is_file() and not judged.is_dir():
        return None
    files = sorted(judged.glob("*.tsv"))
    if judged.is_dir() and not files:
        raise DataError(f"{judged} has no judgements; add dev.tsv or test.tsv, or remove it")
    queries, answers = (read_queries(asked), read_answers(asked)) if asked.is_file() else ({}, {})
    return Asked(queries, answers, {path.stem: _qrels(path) for path in files})


def _qrels(path: Path) -> Qrels:
    found: dict[str, dict[str, int]] = {}
    for _where, query, document, grade in read_grades(path):
        found.setdefault(query, {})[document] = grade
    return found
