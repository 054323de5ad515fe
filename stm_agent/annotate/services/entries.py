"""Entries: a person's blocks and evidence, saved as they type, with undo, and never one over another."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import new_key
from stm_agent.annotate.faults import Forbidden, Invalid, NotFound, Stale
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import dealt, documents
from stm_agent.annotate.services.differences import EntryState, differences
from stm_agent.annotate.services.evidence import Mark, Marks, MarkView, read_marks, stored_marks, write_marks
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Document, Draft, Entry, Evidence, Project
from stm_agent.annotate.values import checked_value

STATES = ("draft", "done", "skipped", "flagged")
PARTS = ("name", "notes", "values", "state", "evidence")
PAGE = 1000
LONGEST_NAME = 300
LONGEST_NOTES = 100_000
LONGEST_VALUES = 1_000_000
"""Largest number of characters that the values of an entry's blocks have together, as JSON."""


class EntryView(EntryState):
    """An entry as JSON; ``about`` is the document that it was begun for, if any."""

    key: str
    migrated: dict[str, object]
    version: int
    author: str
    created_at: str
    updated_at: str
    about: str


def find(session: Session, actor: Actor, project: Project, key: str) -> Entry:
    """Return an entry that the person wrote, or may review.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = session.scalar(select(Entry).where(Entry.project_id == project.id, Entry.key == key))
    if row is None or (row.person_id != actor.id and actor.role == "annotator"):
        raise NotFound(f"there is no entry '{key}'")
    return row


def batched(ids: Sequence[int], most: int = 10_000) -> Iterator[Sequence[int]]:
    """Yield ids in lists that a statement can hold."""
    for start in range(0, len(ids), most):
        yield ids[start : start + most]


def view(session: Session, entry: Entry, marks: Sequence[Mark] | None = None) -> EntryView:
    """Return an entry as JSON, with its evidence: ``marks`` if it has been read, else what is stored."""
    known = stored_marks(session, entry) if marks is None else marks
    return {**views(session, [entry], marked=False)[0], "evidence": [mark.told() for mark in known]}


def views(session: Session, entries: Sequence[Entry], *, marked: bool = True) -> list[EntryView]:
    """Return entries as JSON, with their evidence if ``marked``, by two statements however many they are."""
    marks: dict[int, list[MarkView]] = defaultdict(list)
    for some in batched([entry.id for entry in entries] if marked else []):
        rows = session.execute(
            select(Evidence, Document.key)
            .join(Document, Document.id == Evidence.document_id)
            .where(Evidence.entry_id.in_(some))
            .order_by(Evidence.id)
        )
        for row, document in rows:
            mark: MarkView = {
                "key": row.key,
                "document": document,
                "field": row.field,
                "start": row.start,
                "end": row.end,
                "text": row.text,
                "level": row.level,
            }
            marks[row.entry_id].append(mark)
    people = {entry.person_id for entry in entries}
    names = dict(session.execute(select(Person.id, Person.name).where(Person.id.in_(people))).all())
    return [
        {
            "key": entry.key,
            "name": entry.name,
            "notes": entry.notes,
            "values": entry.values,
            "migrated": entry.migrated,
            "state": entry.state,
            "version": entry.version,
            "author": names.get(entry.person_id, ""),
            "created_at": entry.created_at.isoformat(),
            "updated_at": entry.updated_at.isoformat(),
            "about": str(entry.extra.get("document", "")),
            "evidence": marks[entry.id],
        }
        for entry in entries
    ]


def listed(
    session: Session, actor: Actor, project: Project, *, mine: bool = False, offset: int = 0, limit: int = PAGE
) -> list[EntryView]:
    """Return a page of a project's entries, newest first: an annotator's own, a reviewer's everybody's."""
    wanted = select(Entry).where(Entry.project_id == project.id).order_by(Entry.id.desc())
    if mine or actor.role == "annotator":
        wanted = wanted.where(Entry.person_id == actor.id)
    return views(session, list(session.scalars(wanted.offset(offset).limit(limit))))


def create(
    session: Session, actor: Actor, project: Project, *, key: str | None = None, document: str | None = None
) -> Entry:
    """Begin an empty entry, for a document where one is named.

    Raises:
        NotFound: No such document.
    """
    entry = Entry(key=key or new_key(), project_id=project.id, person_id=actor.id)
    if document is not None:
        entry.extra = {"document": documents.get(session, project, document).key}
    session.add(entry)
    session.flush()
    record(session, project, actor, "entry.create", entry.key, None, {})
    return entry


def resume(session: Session, actor: Actor, project: Project, *, document: str | None = None) -> Entry:
    """Give the newest entry of a person's own in which nothing is yet, for another document now; begin one without it.

    Raises:
        NotFound: No such document.
    """
    drafted = select(Draft.id).where(Draft.entry_key == Entry.key, Draft.project_id == project.id).exists()
    marked = select(Evidence.id).where(Evidence.entry_id == Entry.id).exists()
    empty = (Entry.name == "", Entry.notes == "", Entry.values == {}, Entry.migrated == {}, ~drafted, ~marked)
    bare = (Entry.state == "draft", *empty)
    mine = (Entry.project_id == project.id, Entry.person_id == actor.id)
    found = session.scalar(select(Entry).where(*mine, *bare).order_by(Entry.id.desc()).limit(1).with_for_update())
    if found is None or found.extra.keys() - {"document"}:
        return create(session, actor, project, document=document)
    about: dict[str, object] = {} if document is None else {"document": documents.get(session, project, document).key}
    if found.extra != about:
        # Another window may have it open, for the document it was begun for.
        found.extra, found.version = about, found.version + 1
    session.flush()
    return found


def read_evidence(
    session: Session, actor: Actor, project: Project, entry: Entry, changes: Mapping[str, object], *, version: int
) -> Marks | None:
    """Look up what a save needs of evidence, so that the save itself reads no document; None if it will be refused.

    Raises:
        Invalid: The evidence cannot be saved.
        NotFound: No such document.
    """
    if entry.person_id != actor.id or entry.version != version:
        return None
    return read_marks(session, project, ProjectSchema.model_validate(project.schema), entry, _evidence_of(changes))


def _evidence_of(changes: Mapping[str, object]) -> object:
    if "evidence" in changes and changes["evidence"] is None:
        raise Invalid("evidence is a list of objects; send an empty list to delete all of it")
    return changes.get("evidence")


def save(
    session: Session,
    actor: Actor,
    project: Project,
    entry: Entry,
    changes: Mapping[str, object],
    *,
    version: int,
    marks: Marks | None = None,
) -> Entry:
    """Save parts of an entry: ``name``, ``notes``, ``values`` (by block, None takes one away), ``state``, ``evidence``.

    Evidence is saved as the whole list, rows with their keys; what is not in it goes. ``marks`` is what
    :func:`read_evidence` returned before the save's turn to write; it is read again if something changed since.

    Raises:
        Forbidden: It is somebody else's.
        Stale: It was saved since ``version``.
        Invalid: An unknown part, a value of another type, or evidence that is not in the document.
    """
    own_and_fresh(session, actor, entry, version)
    if unknown := sorted(set(changes) - set(PARTS)):
        raise Invalid(f"an entry has no '{unknown[0]}'")
    schema = ProjectSchema.model_validate(project.schema)
    if marks is None or not marks.fits(entry, project):
        marks = read_marks(session, project, schema, entry, _evidence_of(changes))
    before = _state_of(entry, marks.there)
    finished = dealt.finished(session, entry)
    if "values" in changes:
        entry.values = _values(schema, entry.values, changes["values"])
    if marks.wanted is not None:
        write_marks(session, entry, marks.there, marks.wanted)
    entry.name = words(changes.get("name", entry.name), "an entry's name", LONGEST_NAME)
    entry.notes = words(changes.get("notes", entry.notes), "an entry's notes", LONGEST_NOTES)
    if "state" in changes:
        entry.state = _state(schema, entry, changes["state"])
    elif entry.state == "done" and _missing(schema, entry):
        # What is required was emptied again, so it is not done any more.
        entry.state = "draft"
    entry.version += 1
    session.flush()
    dealt.settle(session, entry, finished)
    record(session, project, actor, "entry.save", entry.key, *differences(before, _state_of(entry, marks.after)))
    return entry


def own_and_fresh(session: Session, actor: Actor, entry: Entry, version: int) -> None:
    """Hold one's own entry until the transaction ends, so that of two writers the second sees what the first did.

    Raises:
        Forbidden: It is somebody else's.
        Stale: It was saved since ``version``.
    """
    if entry.person_id != actor.id:
        raise Forbidden(f"entry '{entry.key}' belongs to somebody else; you can only read it")
    session.refresh(entry, with_for_update=True)
    if entry.version != version:
        raise Stale(f"entry '{entry.name or entry.key}'", view(session, entry))


def _missing(schema: ProjectSchema, entry: Entry) -> list[str]:
    empty: tuple[object, ...] = (None, "", [])
    return [block.name for block in schema.blocks if block.required and entry.values.get(block.id) in empty]


def _state(schema: ProjectSchema, entry: Entry, state: object) -> str:
    if state not in STATES:
        raise Invalid(f"an entry is {', '.join(STATES)}, not '{state}'")
    if state == "done" and (missing := _missing(schema, entry)):
        raise Invalid(f"'{missing[0]}' is required and empty; fill it in, or keep the entry as a draft")
    return str(state)


def _values(schema: ProjectSchema, there: Mapping[str, object], changes: object) -> dict[str, object]:
    if not isinstance(changes, dict):
        raise Invalid("values are an object: block id to value")
    values = {**there, **changes}
    blocks = {block.id: block for block in schema.blocks}
    kept: dict[str, object] = {}
    for key, value in values.items():
        if key not in blocks:
            raise Invalid(f"the project has no block '{key}'")
        if value is None:
            continue
        try:
            kept[key] = checked_value(blocks[key], value)
        except ValueError as error:
            raise Invalid(str(error)) from error
    if (length := len(json.dumps(kept, ensure_ascii=False))) > LONGEST_VALUES:
        raise Invalid(f"the values of an entry have at most {LONGEST_VALUES:,} characters; these have {length:,}")
    return kept


def snapshot(session: Session, entry: Entry) -> EntryState:
    """Return an entry's state, of which saves record what differs."""
    return _state_of(entry, stored_marks(session, entry))


def _state_of(entry: Entry, marks: Sequence[Mark]) -> EntryState:
    return {
        "name": entry.name,
        "notes": entry.notes,
        "values": dict(entry.values),
        "state": entry.state,
        "evidence": [mark.told() for mark in marks],
    }


def remove(session: Session, actor: Actor, project: Project, entry: Entry) -> None:
    """Delete one's own entry; the record keeps what it was."""
    if entry.person_id != actor.id and actor.role != "admin":
        raise Forbidden(f"entry '{entry.key}' belongs to somebody else")
    record(session, project, actor, "entry.delete", entry.key, snapshot(session, entry), None)
    finished = dealt.finished(session, entry)
    session.delete(entry)
    session.flush()
    dealt.settle(session, entry, finished)
