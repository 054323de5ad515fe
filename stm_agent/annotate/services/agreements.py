"""Everybody's grades as the agreement measures take them."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.tables import Judgement, LlmGrade, Project, Query

Grades = dict[str, dict[str, int]]


def grades_of(session: Session, project: Project) -> tuple[Grades, dict[str, int]]:
    """Return item -> person -> grade, and item -> the LLM's grade; an item is a query with a document."""
    people: Grades = {}
    rows = session.execute(
        select(Judgement.query_id, Judgement.document_id, Person.name, Judgement.grade)
        .join(Query, Query.id == Judgement.query_id)
        .join(Person, Person.id == Judgement.person_id)
        .where(Query.project_id == project.id)
    )
    for query, document, name, grade in rows:
        people.setdefault(f"{query}/{document}", {})[name] = grade
    asked = session.execute(
        select(LlmGrade.query_id, LlmGrade.document_id, LlmGrade.grade)
        .join(Query, Query.id == LlmGrade.query_id)
        .where(Query.project_id == project.id)
    )
    return people, {f"{query}/{document}": grade for query, document, grade in asked}


def beside(people: Grades, llm: dict[str, int], name: str) -> Grades:
    """Return one person's grades beside the LLM's, where both gave one."""
    return {item: {name: by[name], "LLM": llm[item]} for item, by in people.items() if name in by and item in llm}
