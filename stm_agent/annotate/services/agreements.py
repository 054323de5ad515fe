"""Everybody's grades as the agreement measures take them, and what they tell."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate import agreeing
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.tables import Judgement, LlmGrade, Project, Query

LLM = "LLM"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of what a spreadsheet takes for a formula."""
Grades = dict[str, dict[str, int]]


class PairRow(agreeing.AgreementRow):
    """Cohen's kappa of two people as JSON, and the cells of their confusion."""

    first: str
    second: str
    confusion: list[dict[str, int]]


class AgreementReport(TypedDict):
    """How far people agree with each other, each two of them alone, and each with the LLM, by name."""

    people: list[agreeing.AgreementRow]
    pairs: list[PairRow]
    with_llm: dict[str, list[agreeing.AgreementRow]]
    confusion: dict[str, list[dict[str, int]]]
    llm_bias: dict[str, float | None]


@dataclass(frozen=True)
class Given:
    """A project's grades; an item is a query with a document.

    Attributes:
        people: Item -> person -> grade.
        first: The same as people graded before the LLM's grade was shown to them.
        llm: Item -> the LLM's grade.
    """

    people: Grades
    first: Grades
    llm: dict[str, int]

    def beside(self, name: str) -> Grades:
        """Return one person's first grades beside the LLM's, where both gave one; it may have led the later ones."""
        rows = ((item, by[name]) for item, by in self.first.items() if name in by and item in self.llm)
        return {item: {name: grade, LLM: self.llm[item]} for item, grade in rows}


def grades_of(session: Session, project: Project) -> Given:
    """Return the grades of a project."""
    people: Grades = {}
    first: Grades = {}
    rows = session.execute(
        select(Judgement.query_id, Judgement.document_id, Person.name, Judgement.grade, Judgement.first_grade)
        .join(Query, Query.id == Judgement.query_id)
        .join(Person, Person.id == Judgement.person_id)
        .where(Query.project_id == project.id)
    )
    for query, document, name, grade, before in rows:
        people.setdefault(f"{query}/{document}", {})[name] = grade
        first.setdefault(f"{query}/{document}", {})[name] = before
    asked = session.execute(
        select(LlmGrade.query_id, LlmGrade.document_id, LlmGrade.grade)
        .join(Query, Query.id == LlmGrade.query_id)
        .where(Query.project_id == project.id)
    )
    return Given(people, first, {f"{query}/{document}": grade for query, document, grade in asked})


def report(given: Given) -> AgreementReport:
    """Return how far people agree with each other, each two of them alone, and each with the LLM."""
    names = sorted({name for by in given.people.values() for name in by})
    beside = {name: given.beside(name) for name in names}
    return {
        "people": agreeing.told(agreeing.agreement(given.people)),
        "pairs": [_told(pair) for pair in agreeing.pairs(given.people)],
        "with_llm": {name: agreeing.told(agreeing.agreement(grades)) for name, grades in beside.items()},
        "confusion": {
            name: _cells(agreeing.confusion(grades, name, LLM), "person", "llm") for name, grades in beside.items()
        },
        "llm_bias": {name: agreeing.bias(grades, name, LLM) for name, grades in beside.items()},
    }


def _told(pair: agreeing.Pair) -> PairRow:
    (kappa,) = agreeing.told([pair.kappa])
    cells = _cells(pair.confusion, "first", "second")
    return {"first": pair.first, "second": pair.second, **kappa, "confusion": cells}


def _cells(counts: dict[tuple[int, int], int], row: str, column: str) -> list[dict[str, int]]:
    return [{row: a, column: b, "count": count} for (a, b), count in sorted(counts.items())]


def as_csv(told: AgreementReport) -> str:
    """Return a report's coefficients as a table; ``pair`` is empty where all people are meant."""
    rows: list[tuple[str, agreeing.AgreementRow]] = [("", one) for one in told["people"]]
    rows += [(f"{one['first']} / {one['second']}", one) for one in told["pairs"]]
    rows += [(f"{name} / {LLM}", one) for name, measures in told["with_llm"].items() for one in measures]
    made = io.StringIO()
    table = csv.writer(made)
    table.writerow(["measure", "pair", "value", "low", "high", "items"])
    table.writerows(
        [one["name"], _cell(pair), one["value"], one["low"], one["high"], one["items"]] for pair, one in rows
    )
    return made.getvalue()


def _cell(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula (OWASP, "CSV Injection")."""
    return f"'{text}" if text.startswith(FORMULA) else text
