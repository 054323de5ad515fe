"""Projects: made from a template or a schema, edited at any time, and nothing that people wrote is lost by an edit."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import new_key
from stm_agent.annotate.faults import Forbidden, Invalid, NotFound, Stale, Taken
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services.ceilings import check_ceilings
from stm_agent.annotate.services.documents import LONGEST_TAG, MOST_TAGS
from stm_agent.annotate.services.migrating import migrate_entries
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.services.regrading import read_grades, regrade
from stm_agent.annotate.services.renaming import rename_fields
from stm_agent.annotate.splits import read_shares
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Document, Entry, Member, Project, Query
from stm_agent.annotate.templates import TEMPLATES

MOST_JUDGES = 100

EDITABLE = frozenset(
    {"name", "description", "guidelines", "tags", "overlap", "archived", "schema", "llm_calls", "llm_usd"}
)
"""Parts of a project that an administrator changes."""


class ProjectView(TypedDict):
    """A project as JSON, with its counts."""

    key: str
    name: str
    description: str
    guidelines: str
    tags: list[str]
    schema: dict[str, object]
    overlap: int
    splits: dict[str, object]
    llm_calls: int | None
    llm_usd: float | None
    archived: bool
    version: int
    created_at: str
    documents: int
    entries: int
    queries: int


def read_schema(value: object) -> ProjectSchema:
    """Return a schema.

    Raises:
        Invalid: It is none; the first fault is named.
    """
    try:
        return ProjectSchema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise Invalid(f"schema{f' at {place}' if place else ''}: {reason}") from error


def find(
    session: Session, actor: Actor, project: str, *, also_archived: bool = False, to_write: bool = False
) -> Project:
    """Return a project by key, if the person may see it; in the archive it is to be read, unless ``also_archived``.

    Args:
        session: The database; one that writes sees the project as it is, and nobody edits it until that ends.
        actor: Who asks.
        project: The key.
        also_archived: It is edited, taken out of the archive or deleted: whatever it is.
        to_write: What is read now is to be written about later, as by an LLM that is asked, and paid, in between.

    Raises:
        NotFound: It does not exist, or they are not a member; the message does not say which.
        Forbidden: It is in the archive, and something is to be written.
    """
    wanted, writes = select(Project).where(Project.key == project), _writes(session)
    if writes and not also_archived:
        # The project first, what is in it then: who edits its schema holds the whole of it, and goes the same way.
        wanted = wanted.with_for_update(read=True, key_share=True)
    row = session.scalar(wanted)
    if row is None or not (
        actor.role == "admin"
        or session.scalar(select(Member.person_id).where(Member.project_id == row.id, Member.person_id == actor.id))
    ):
        raise NotFound(f"there is no project '{project}'")
    if not also_archived and (writes or to_write):
        check_open(row)
    return row


def _writes(session: Session) -> bool:
    return bool(session.connection().get_execution_options().get("writes"))


def check_open(project: Project) -> None:
    """Check that a project can be changed.

    Raises:
        Forbidden: It is in the archive.
    """
    if project.archived:
        raise Forbidden(f"project '{project.name}' is archived; restore it in its settings first")


def called(session: Session, name: str) -> Project | None:
    """Return the project of a name or key, for whoever has the database itself.

    Raises:
        Forbidden: It is in the archive, and the session is one that writes.
    """
    row = session.scalar(select(Project).where((Project.key == name) | (Project.name == name)))
    if row is not None and _writes(session):
        check_open(row)
    return row


def view(session: Session, project: Project) -> ProjectView:
    """Return a project as JSON, with its counts."""
    documents, entries, queries = (
        session.scalar(select(func.count()).where(table.project_id == project.id)) or 0
        for table in (Document, Entry, Query)
    )
    return {
        "key": project.key,
        "name": project.name,
        "description": project.description,
        "guidelines": project.guidelines,
        "tags": project.tags,
        "schema": project.schema,
        "overlap": project.overlap,
        "splits": project.splits,
        "llm_calls": project.llm_calls,
        "llm_usd": project.llm_usd,
        "archived": project.archived,
        "version": project.version,
        "created_at": project.created_at.isoformat(),
        "documents": documents,
        "entries": entries,
        "queries": queries,
    }


def listed(session: Session, actor: Actor, *, tag: str | None = None, archived: bool = False) -> list[ProjectView]:
    """Return the projects a person may see, newest first."""
    wanted = select(Project).where(Project.archived == archived).order_by(Project.id.desc())
    if actor.role != "admin":
        wanted = wanted.join(Member, Member.project_id == Project.id).where(Member.person_id == actor.id)
    return [view(session, row) for row in session.scalars(wanted) if tag is None or tag in row.tags]


def create(
    session: Session,
    actor: Actor,
    *,
    name: str,
    description: str = "",
    tags: list[str] | None = None,
    template: str | None = None,
    schema: Mapping[str, object] | None = None,
    key: str | None = None,
) -> Project:
    """Make a project from a template or a schema of one's own.

    Raises:
        Forbidden: Only administrators make projects.
        Invalid: No name, no such template, or a schema that is none.
        Taken: The name is there.
    """
    actor.needs("admin")
    if template is not None and template not in TEMPLATES:
        raise Invalid(f"there is no template '{template}'; use {', '.join(TEMPLATES)}")
    check_parts({"tags": tags or [], "description": description})
    chosen = read_schema(schema) if schema is not None else TEMPLATES[template or "judging"]
    project = Project(
        key=key or new_key(),
        name=_free_name(session, name),
        description=description,
        tags=tags or [],
        schema=chosen.model_dump(mode="json"),
    )
    session.add(project)
    session.flush()
    session.add(Member(project_id=project.id, person_id=actor.id))
    record(session, project, actor, "project.create", project.key, None, {"name": project.name})
    return project


def _free_name(session: Session, name: object, but: int | None = None) -> str:
    clean = words(name, "a project's name", 200).strip()
    if not clean:
        raise Invalid("a project needs a name")
    other = session.scalar(select(Project.id).where(Project.name == clean))
    if other is not None and other != but:
        raise Taken(f"a project '{clean}' already exists; choose another name")
    return clean


def edit(session: Session, actor: Actor, project: Project, changes: Mapping[str, object], *, version: int) -> Project:
    """Change any part of a project; a changed schema takes documents, entries and grades along.

    ``grades`` says, old grade to new, where grades go whose level does not say it.

    Raises:
        Forbidden: Not an administrator, or the project is archived and stays so.
        Stale: Somebody else changed it since ``version``.
        Invalid: A part that is not there, or a value that cannot be used.
    """
    actor.needs("admin")
    session.refresh(project, with_for_update=True)
    if project.version != version:
        raise Stale(f"project '{project.name}'", view(session, project))
    if project.archived and changes.get("archived", True):
        raise Forbidden(f"project '{project.name}' is archived; restore it first")
    changes = dict(changes)
    grades = read_grades(changes.pop("grades", {}))
    unknown = set(changes) - EDITABLE
    if unknown:
        raise Invalid(f"a project has no '{min(unknown)}'")
    before = {name: getattr(project, name) for name in changes}
    check_parts(changes)
    if "name" in changes:
        changes["name"] = _free_name(session, changes["name"], project.id)
    if "schema" in changes:
        old, new = ProjectSchema.model_validate(project.schema), read_schema(changes["schema"])
        rename_fields(session, project, old, new)
        migrate_entries(session, project, old, new)
        regrade(session, project, old, new, grades)
        changes["schema"] = new.model_dump(mode="json")
    for name, value in changes.items():
        setattr(project, name, value)
    project.version += 1
    after = {name: getattr(project, name) for name in changes} | ({"grades": grades} if grades else {})
    record(session, project, actor, "project.edit", project.key, before, after)
    return project


def check_parts(changes: Mapping[str, object]) -> None:
    """Check the parts of a project; its name and its schema have checks of their own.

    Raises:
        Invalid: A value that cannot be used.
    """
    overlap, archived, tags = changes.get("overlap", 1), changes.get("archived", False), changes.get("tags", [])
    if not isinstance(overlap, int) or isinstance(overlap, bool) or not 1 <= overlap <= MOST_JUDGES:
        raise Invalid(f"overlap is the number of people who judge a query; use 1 to {MOST_JUDGES}")
    if not isinstance(archived, bool):
        raise Invalid("archived must be true or false")
    if not isinstance(tags, list):
        raise Invalid("tags must be a list of strings")
    if len(tags) > MOST_TAGS:
        raise Invalid(f"a project has at most {MOST_TAGS} tags; this one would have {len(tags):,}")
    for tag in tags:
        words(tag, "a tag", LONGEST_TAG)
    check_ceilings(changes)
    if "splits" in changes:
        read_shares(changes["splits"])
    for part in ("description", "guidelines"):
        words(changes.get(part, ""), part)


def duplicate(session: Session, actor: Actor, project: Project, name: str) -> Project:
    """Make a project with the same schema and guidelines, and no documents."""
    copy = create(
        session, actor, name=name, description=project.description, tags=list(project.tags), schema=project.schema
    )
    for part in ("guidelines", "overlap", "splits", "llm_calls", "llm_usd"):
        setattr(copy, part, getattr(project, part))
    return copy
