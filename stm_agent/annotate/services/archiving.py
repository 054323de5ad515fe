"""A project to an archive and back, every row with its key, its author's name and its moments."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import Base, Keyed
from stm_agent.annotate.faults import Invalid, Taken
from stm_agent.annotate.formats.archive import pack
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import entries, projects
from stm_agent.annotate.services.archive_rows import Columns, checked
from stm_agent.annotate.splits import SPLITS
from stm_agent.annotate.storable import NOWHERE
from stm_agent.annotate.tables import (
    Adjudication,
    Assignment,
    Change,
    Document,
    DocumentAssignment,
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
from stm_agent.annotate.values import checked_value
from stm_agent.errors import DataError

TABLES: dict[str, type[Base]] = {
    "documents": Document,
    "entries": Entry,
    "queries": Query,
    "judgements": Judgement,
    "adjudications": Adjudication,
    "rankings": Ranking,
    "assignments": Assignment,
    "document_assignments": DocumentAssignment,
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

CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "queries": {"split": SPLITS},
    "entries": {"state": entries.STATES},
}
"""Columns that hold one of few words."""


def names_of(table: type[Base]) -> list[str]:
    """Return the columns of a table."""
    return [column.name for column in table.__table__.columns]


def _own(project: Project) -> dict[str, object]:
    skipped = {"id"}
    return {name: _plain(getattr(project, name)) for name in names_of(Project) if name not in skipped}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _names(session: Session, project: Project) -> dict[str, dict[int, str]]:
    """Return id -> name of everything that rows point to."""
    found = {"person_id": {row.id: row.name for row in session.scalars(select(Person))}}
    for column, table in NAMED.items():
        if table is not Person:
            own = table.__table__.columns
            rows = session.execute(select(own["id"], own["key"]).where(own["project_id"] == project.id))
            found[column] = dict(rows.all())
    return found


def export(session: Session, project: Project) -> bytes:
    """Return a project's archive."""
    names = _names(session, project)
    parts: dict[str, list[dict[str, object]]] = {}
    for part, table in TABLES.items():
        columns = table.__table__.columns
        wanted = select(table)
        if "project_id" in columns:
            wanted = wanted.where(columns["project_id"] == project.id)
        else:
            column, of = ("query_id", Query) if "query_id" in columns else ("document_id", Document)
            wanted = wanted.where(columns[column].in_(select(of.id).where(of.project_id == project.id)))
        order = columns["position" if part == "documents" else "id"]
        parts[part] = [_row(row, names) for row in session.scalars(wanted.order_by(order))]
    for entry, row in zip(parts["entries"], _entries(session, project), strict=True):
        marks = session.scalars(select(Evidence).where(Evidence.entry_id == row.id).order_by(Evidence.id))
        entry["evidence"] = [_row(mark, names, skip=("entry_id",)) for mark in marks]
    return pack(_own(project), parts)


def _entries(session: Session, project: Project) -> list[Entry]:
    return list(session.scalars(select(Entry).where(Entry.project_id == project.id).order_by(Entry.id)))


def _row(row: Base, names: dict[str, dict[int, str]], skip: tuple[str, ...] = ()) -> dict[str, object]:
    told: dict[str, object] = {}
    for name in names_of(type(row)):
        if name in ("id", "project_id", *skip):
            continue
        value = getattr(row, name)
        told[name] = names[name].get(value) if name in names and value is not None else _plain(value)
    return told


def restore(
    session: Session, actor: Actor, project: Mapping[str, object], parts: Mapping[str, list[dict[str, object]]]
) -> Project:
    """Make a project of an archive; people who are not here come in without a password and shut out.

    Raises:
        DataError: It is damaged; nothing was stored.
        Invalid: A part of the project cannot be used.
        Taken: The project, or one of its name, is here already.
    """
    actor.needs("admin")
    about = checked(Project, project, "project.json")
    if not about["name"].strip():
        raise Invalid("a project needs a name; the archive's is empty")
    schema = projects.read_schema(about.get("schema"))
    about["schema"] = schema.model_dump(mode="json")
    projects.check_parts(about)
    rows = {part: _checked(part, table, parts[part]) for part, table in TABLES.items()}
    _check_values(schema, rows["entries"])
    if session.scalar(select(Project.id).where((Project.key == about["key"]) | (Project.name == about["name"]))):
        raise Taken(f"project '{about['name']}' already exists; rename or delete it first")
    made = Project(**about)
    session.add(made)
    session.flush()
    session.add(Member(project_id=made.id, person_id=actor.id))
    _insert(session, made, rows)
    return made


Told = tuple[Columns, list[Columns]]
"""A row, and the evidence that stands within it."""


def _checked(part: str, table: type[Base], rows: list[dict[str, object]]) -> list[Told]:
    read: list[Told] = []
    keys: set[str] = set()
    for number, told in enumerate(rows, 1):
        where = f"{part}.jsonl:{number}"
        row = checked(table, told, where)
        if "key" in row and row["key"] in keys:
            raise DataError(f"the archive is damaged: {where} repeats the key '{row['key']}'")
        keys.add(row.get("key", ""))
        for name, choices in CHOICES.get(part, {}).items():
            if row.get(name, choices[0]) not in choices:
                raise DataError(f"the archive is damaged: '{name}' of {where} is not one of {', '.join(choices)}")
        marks = told.get("evidence", []) if table is Entry else []
        if not isinstance(marks, list):
            raise DataError(f"the archive is damaged: the evidence of {where} is not a list")
        read.append((row, [checked(Evidence, mark, f"the evidence of {where}", but="entry_id") for mark in marks]))
    return read


def _check_values(schema: ProjectSchema, rows: list[Told]) -> None:
    blocks = {block.id: block for block in schema.blocks}
    for number, (row, _) in enumerate(rows, 1):
        where = f"entries.jsonl:{number}"
        for key, value in row.get("values", {}).items():
            if key not in blocks:
                raise DataError(f"the archive is damaged: {where} has a value of block '{key}', which does not exist")
            try:
                checked_value(blocks[key], value)
            except ValueError as error:
                raise DataError(f"the archive is damaged: {where}: {error}") from error


def _insert(session: Session, project: Project, parts: dict[str, list[Told]]) -> None:
    ids: dict[str, dict[str, int]] = {column: {} for column in NAMED}
    ids["person_id"] = _people(session, parts)
    for part, table in TABLES.items():
        own = {"project_id": project.id} if "project_id" in names_of(table) else {}
        made: list[tuple[Base, list[Columns]]] = [
            (table(**_pointed(row, ids, part), **own), marks) for row, marks in parts[part]
        ]
        session.add_all(row for row, _ in made)
        session.flush()
        for column, pointed in NAMED.items():
            if pointed is table:
                ids[column] = {row.key: row.id for row, _ in made if isinstance(row, Keyed)}
        for row, marks in made:
            if isinstance(row, Entry):
                session.add_all(Evidence(**_pointed(mark, ids, part), entry_id=row.id) for mark in marks)
    session.flush()


def _people(session: Session, parts: dict[str, list[Told]]) -> dict[str, int]:
    known = dict(session.execute(select(Person.name, Person.id)).all())
    wanted = {row["person_id"] for rows in parts.values() for row, _ in rows if row.get("person_id")}
    for name in sorted(wanted - known.keys()):
        if name in NOWHERE:
            raise DataError(f"the archive is damaged: a person is named '{name}', which cannot be part of a URL")
        person = Person(name=name, role="annotator", active=False)
        session.add(person)
        session.flush()
        known[name] = person.id
    return known


def _pointed(row: Columns, ids: dict[str, dict[str, int]], part: str) -> Columns:
    for name in ids.keys() & row.keys():
        if row[name] is not None and row[name] not in ids[name]:
            raise DataError(f"the archive is damaged: {part}.jsonl names {name[:-3]} '{row[name]}', which it lacks")
    return {name: ids[name][value] if name in ids and value is not None else value for name, value in row.items()}
