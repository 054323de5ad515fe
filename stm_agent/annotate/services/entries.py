"""Entries: a person's blocks and evidence, saved as they type, with undo, and never one over another."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import new_key
from stm_agent.annotate.faults import Forbidden, Invalid, NotFound, Stale
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import documents
from stm_agent.annotate.services.migrating import checked_value
from stm_agent.annotate.services.recording import history, record
from stm_agent.annotate.tables import Document, Entry, Evidence, Project

STATES = ("draft", "done", "skipped", "flagged")
PARTS = ("name", "notes", "values", "state", "evidence")


def find(session: Session, actor: Actor, project: Project, key: str) -> Entry:
    """Return an entry that the person wrote, or may review.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = session.scalar(select(Entry).where(Entry.project_id == project.id, Entry.key == key))
    if row is None or (row.person_id != actor.id and actor.role == "annotator"):
        raise NotFound(f"there is no entry '{key}'")
    return row


def view(session: Session, entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON, with its evidence."""
    rows = session.execute(
        select(Evidence, Document.key)
        .join(Document, Document.id == Evidence.document_id)
        .where(Evidence.entry_id == entry.id)
        .order_by(Evidence.id)
    )
    author = session.get(Person, entry.person_id)
    return {
        "key": entry.key,
        "name": entry.name,
        "notes": entry.notes,
        "values": entry.values,
        "migrated": entry.migrated,
        "state": entry.state,
        "version": entry.version,
        "author": author.name if author else "",
        "created_at": entry.created_at.isoformat(),
        "updated_at": entry.updated_at.isoformat(),
        "evidence": [
            {
                "key": row.key,
                "document": document,
                "field": row.field,
                "start": row.start,
                "end": row.end,
                "text": row.text,
                "level": row.level,
            }
            for row, document in rows
        ],
    }


def listed(session: Session, actor: Actor, project: Project, *, mine: bool = False) -> list[dict[str, Any]]:
    """Return the entries of a project, newest first: an annotator's own, a reviewer's everybody's."""
    wanted = select(Entry).where(Entry.project_id == project.id).order_by(Entry.id.desc())
    if mine or actor.role == "annotator":
        wanted = wanted.where(Entry.person_id == actor.id)
    return [view(session, row) for row in session.scalars(wanted)]


def create(session: Session, actor: Actor, project: Project, *, key: str | None = None) -> Entry:
    """Begin an empty entry."""
    entry = Entry(key=key or new_key(), project_id=project.id, person_id=actor.id)
    session.add(entry)
    session.flush()
    record(session, project, actor, "entry.create", entry.key, None, {})
    return entry


def save(
    session: Session, actor: Actor, project: Project, entry: Entry, changes: dict[str, Any], *, version: int
) -> Entry:
    """Save parts of an entry: ``name``, ``notes``, ``values`` (by block, None takes one away), ``state``, ``evidence``.

    Evidence is saved as the whole list, rows with their keys; what is not in it goes.

    Raises:
        Forbidden: It is somebody else's.
        Stale: It was saved since ``version``.
        Invalid: An unknown part, a value of another type, or evidence that is not in the document.
    """
    if entry.person_id != actor.id:
        raise Forbidden(f"entry '{entry.key}' is somebody else's; you can read it")
    _fresh(session, entry, version)
    if unknown := sorted(set(changes) - set(PARTS)):
        raise Invalid(f"an entry has no '{unknown[0]}'")
    schema = ProjectSchema.model_validate(project.schema)
    before = _snapshot(session, entry)
    if "values" in changes:
        entry.values = _values(schema, {**entry.values, **changes["values"]})
    if "evidence" in changes:
        set_evidence(session, project, schema, entry, changes["evidence"])
    for part in ("name", "notes"):
        if part in changes:
            setattr(entry, part, str(changes[part]))
    if "state" in changes:
        entry.state = _state(schema, entry, changes["state"])
    entry.version += 1
    session.flush()
    record(session, project, actor, "entry.save", entry.key, before, _snapshot(session, entry))
    return entry


def _fresh(session: Session, entry: Entry, version: int) -> None:
    """Hold the row until the transaction ends, so that of two writers the second sees what the first did."""
    session.refresh(entry, with_for_update=True)
    if entry.version != version:
        raise Stale(f"entry '{entry.name or entry.key}'", view(session, entry))


def _state(schema: ProjectSchema, entry: Entry, state: str) -> str:
    if state not in STATES:
        raise Invalid(f"an entry is {', '.join(STATES)}, not '{state}'")
    if state == "done":
        missing = [
            block.name for block in schema.blocks if block.required and entry.values.get(block.id) in (None, "", [])
        ]
        if missing:
            raise Invalid(f"'{missing[0]}' is required and empty; fill it in, or keep the entry as a draft")
    return state


def _values(schema: ProjectSchema, values: dict[str, Any]) -> dict[str, Any]:
    blocks = {block.id: block for block in schema.blocks}
    kept = {}
    for key, value in values.items():
        if key not in blocks:
            raise Invalid(f"the project has no block '{key}'")
        if value is None:
            continue
        try:
            kept[key] = checked_value(blocks[key], value)
        except ValueError as error:
            raise Invalid(str(error)) from error
    return kept


def set_evidence(
    session: Session, project: Project, schema: ProjectSchema, entry: Entry, rows: list[dict[str, Any]]
) -> None:
    """Put a list of evidence in the place of what is there.

    Raises:
        Invalid: A span that is not in its document, or no such level.
        NotFound: No such document.
    """
    levels = {level.id for level in schema.levels}
    made = []
    for row in rows:
        document = documents.get(session, project, str(row.get("document")))
        field, start, end = str(row.get("field", "text")), int(row.get("start", -1)), int(row.get("end", -1))
        whole = str(document.fields.get(field, ""))
        if not 0 <= start < end <= len(whole):
            raise Invalid(
                f"evidence {start}-{end} is not in '{field}' of document '{document.key}' ({len(whole)} long)"
            )
        if row.get("level") not in levels:
            raise Invalid(f"the project has no level '{row.get('level')}'")
        made.append(
            Evidence(
                key=str(row.get("key") or new_key()),
                entry_id=entry.id,
                document_id=document.id,
                field=field,
                start=start,
                end=end,
                text=whole[start:end],
                level=row["level"],
            )
        )
    session.execute(delete(Evidence).where(Evidence.entry_id == entry.id))
    session.add_all(made)


def _snapshot(session: Session, entry: Entry) -> dict[str, Any]:
    whole = view(session, entry)
    return {part: whole[part] for part in PARTS}


def undo(session: Session, actor: Actor, project: Project, entry: Entry, *, version: int) -> Entry:
    """Take the person's last change of an entry back; undoing again goes further, and every step is recorded.

    Raises:
        Invalid: There is nothing to take back.
        Stale: It was saved since ``version``.
    """
    _fresh(session, entry, version)
    # A stack of what was done: an undo takes the last away.
    done = []
    for change in history(session, project, entry.key):
        if change.kind == "entry.save":
            done.append(change)
        elif change.kind == "entry.undo" and done:
            done.pop()
    if not done:
        raise Invalid("there is nothing to undo")
    before = done[-1].before or {}
    blocks = {block.id for block in ProjectSchema.model_validate(project.schema).blocks}
    was = _snapshot(session, entry)
    entry.values = {key: value for key, value in before["values"].items() if key in blocks}
    entry.name, entry.notes, entry.state = before["name"], before["notes"], before["state"]
    set_evidence(session, project, ProjectSchema.model_validate(project.schema), entry, before["evidence"])
    entry.version += 1
    session.flush()
    record(session, project, actor, "entry.undo", entry.key, was, _snapshot(session, entry))
    return entry


def remove(session: Session, actor: Actor, project: Project, entry: Entry) -> None:
    """Delete one's own entry; the record keeps what it was."""
    if entry.person_id != actor.id and actor.role != "admin":
        raise Forbidden(f"entry '{entry.key}' is somebody else's")
    record(session, project, actor, "entry.delete", entry.key, _snapshot(session, entry), None)
    session.delete(entry)
