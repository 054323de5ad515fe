"""A project to an archive and back, every row with its key, its author's name and its moments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import Base
from stm_agent.annotate.faults import Taken
from stm_agent.annotate.formats.archive import pack
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.services.projects import read_schema
from stm_agent.annotate.tables import (
    Adjudication,
    Assignment,
    Change,
    Document,
    Doubt,
    Draft,
    Entry,
    Evidence,
    Judgement,
    LlmGrade,
    Member,
    Project,
    Query,
    Ranking,
)

TABLES: dict[str, type[Base]] = {
    "documents": Document,
    "entries": Entry,
    "queries": Query,
    "judgements": Judgement,
    "adjudications": Adjudication,
    "rankings": Ranking,
    "assignments": Assignment,
    "drafts": Draft,
    "llm_grades": LlmGrade,
    "doubts": Doubt,
    "changes": Change,
}
NAMED: dict[str, type[Base]] = {
    "person_id": Person,
    "document_id": Document,
    "query_id": Query,
    "entry_id": Entry,
    "draft_id": Draft,
}
"""Columns that point to a row, which an archive names by its key (a person by name)."""


def names_of(table: type[Base]) -> list[str]:
    """Return the columns of a table."""
    return [column.name for column in table.__table__.columns]


def _own(project: Project) -> dict[str, Any]:
    skipped = {"id"}
    return {name: _plain(getattr(project, name)) for name in names_of(Project) if name not in skipped}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a column's value
    return value.isoformat() if isinstance(value, datetime) else value


def _names(session: Session, project: Project) -> dict[str, dict[int, str]]:
    """Return id -> name of everything that rows point to."""
    found = {"person_id": {row.id: row.name for row in session.scalars(select(Person))}}
    for column, table in NAMED.items():
        if table is not Person:
            rows: Any = table
            found[column] = dict(session.execute(select(rows.id, rows.key).where(rows.project_id == project.id)).all())
    return found


def export(session: Session, project: Project) -> bytes:
    """Return a project's archive."""
    names = _names(session, project)
    parts: dict[str, list[dict[str, Any]]] = {}
    for part, table in TABLES.items():
        rows: Any = table
        wanted = select(rows)
        if "project_id" in names_of(table):
            wanted = wanted.where(rows.project_id == project.id)
        else:
            wanted = wanted.where(rows.query_id.in_(list(names["query_id"])))
        order = rows.position if part == "documents" else rows.id
        parts[part] = [_row(row, names) for row in session.scalars(wanted.order_by(order))]
    for entry, row in zip(parts["entries"], _entries(session, project), strict=True):
        marks = session.scalars(select(Evidence).where(Evidence.entry_id == row.id).order_by(Evidence.id))
        entry["evidence"] = [_row(mark, names, skip=("entry_id",)) for mark in marks]
    return pack(_own(project), parts)


def _entries(session: Session, project: Project) -> list[Entry]:
    return list(session.scalars(select(Entry).where(Entry.project_id == project.id).order_by(Entry.id)))


def _row(row: Any, names: dict[str, dict[int, str]], skip: tuple[str, ...] = ()) -> dict[str, Any]:  # noqa: ANN401
    told = {}
    for name in names_of(type(row)):
        if name in ("id", "project_id", *skip):
            continue
        value = getattr(row, name)
        told[name] = names[name].get(value) if name in names and value is not None else _plain(value)
    return told


def restore(session: Session, actor: Actor, project: dict[str, Any], parts: dict[str, list[dict[str, Any]]]) -> Project:
    """Make a project of an archive; people who are not here come in without a password and shut out.

    Raises:
        Taken: The project, or one of its name, is here already.
    """
    actor.needs("admin")
    read_schema(project["schema"])
    same = select(Project.id).where((Project.key == project["key"]) | (Project.name == project["name"]))
    if session.scalar(same):
        raise Taken(f"project '{project['name']}' is here already; rename or delete it first")
    made = Project(**_typed(Project, project))
    session.add(made)
    session.flush()
    session.add(Member(project_id=made.id, person_id=actor.id))
    ids: dict[str, dict[str, int]] = {column: {} for column in NAMED}
    ids["person_id"] = _people(session, parts)
    keyed = {"documents": "document_id", "entries": "entry_id", "queries": "query_id", "drafts": "draft_id"}
    for part, table in TABLES.items():
        rows = []
        for told in parts[part]:
            marks = told.pop("evidence", [])
            row = table(**_typed(table, _pointed(told, ids), made.id))
            rows.append((row, marks))
        session.add_all(row for row, _ in rows)
        session.flush()
        if part in keyed:
            ids[keyed[part]] = {row.key: row.id for row, _ in rows}  # type: ignore[attr-defined]
        for row, marks in rows:
            session.add_all(
                Evidence(**_typed(Evidence, _pointed(mark, ids)), entry_id=row.id)  # type: ignore[attr-defined]
                for mark in marks
            )
    session.flush()
    return made


def _people(session: Session, parts: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    known = dict(session.execute(select(Person.name, Person.id)).all())
    wanted = {row["person_id"] for rows in parts.values() for row in rows if row.get("person_id")}
    for name in sorted(wanted - known.keys()):
        person = Person(name=name, role="annotator", active=False)
        session.add(person)
        session.flush()
        known[name] = person.id
    return known


def _pointed(told: dict[str, Any], ids: dict[str, dict[str, int]]) -> dict[str, Any]:
    return {name: ids[name][value] if name in ids and value is not None else value for name, value in told.items()}


def _typed(table: type[Base], told: dict[str, Any], project: int | None = None) -> dict[str, Any]:
    columns = names_of(table)
    moments = {name for name in columns if name.endswith("_at") or name == "at"}
    kept = {
        name: datetime.fromisoformat(value) if name in moments and value is not None else value
        for name, value in told.items()
        if name in columns
    }
    if project is not None and "project_id" in columns:
        kept["project_id"] = project
    return kept
