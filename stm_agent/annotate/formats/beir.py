"""What a BEIR folder asks: all its queries, and judgements that need not be good enough to score on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stm_agent.annotate.formats.trec import Qrels
from stm_agent.domain.beir_files import SYNTHETIC, is_synthetic, query_files, read_answers, read_grades, read_queries
from stm_agent.errors import DataError


@dataclass(frozen=True)
class Asked:
    """Queries and what is judged of them.

    Attributes:
        queries: Query -> text, judged or not.
        answers: Query -> answer, where there is one.
        grades: Split, as its file is called -> query -> document -> grade; ids of either may be unknown.
        written: Splits whose queries an LLM wrote: their grades are nobody's judgements.
    """

    queries: Mapping[str, str]
    answers: Mapping[str, str]
    grades: Mapping[str, Qrels]
    written: frozenset[str] = frozenset()

    @property
    def ranking(self) -> Qrels:
        """Query -> document -> grade of the splits in ``written``: what a person should look at first."""
        return {query: grades for name in self.written for query, grades in self.grades[name].items()}

    def only(self, split: str) -> Asked:
        """Return one split and its queries.

        Raises:
            DataError: The split does not exist.
        """
        if split not in self.grades:
            raise DataError(f"there is no split '{split}'; there are {', '.join(sorted(self.grades)) or 'none'}")
        grades = self.grades[split]
        queries = {key: text for key, text in self.queries.items() if key in grades}
        answers = {key: text for key, text in self.answers.items() if key in grades}
        return Asked(queries, answers, {split: grades}, self.written & {split})


def read_asked(folder: Path) -> Asked | None:
    """Read ``queries.jsonl`` and ``qrels/`` of a BEIR folder, where either is there; those that an LLM wrote, too.

    Raises:
        DataError: One is malformed, a file judges the same twice and differently, or ``qrels/`` has no judgements.
    """
    asked, judged = [path for path in query_files(folder) if path.is_file()], folder / "qrels"
    if not asked and not judged.is_dir():
        return None
    files = sorted(judged.glob("*.tsv"))
    if judged.is_dir() and not files:
        raise DataError(f"{judged} has no judgements; add dev.tsv or test.tsv, or remove it")
    answers = {key: answer for path in asked for key, answer in read_answers(path).items()}
    grades = {path.stem.removesuffix(SYNTHETIC): _qrels(path) for path in files}
    written = frozenset(path.stem.removesuffix(SYNTHETIC) for path in files if is_synthetic(path))
    return Asked(read_queries(*asked), answers, grades, written)


def _qrels(path: Path) -> Qrels:
    found: dict[str, dict[str, int]] = {}
    for _where, query, document, grade in read_grades(path):
        found.setdefault(query, {})[document] = grade
    return found
