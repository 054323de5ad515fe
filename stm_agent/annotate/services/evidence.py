"""Evidence: spans of documents that support an entry, saved as the whole list.

A save is in two steps. :func:`read_marks` looks the spans up in their documents, which may be books, while others
write. :func:`write_marks` then stores what differs, in the save's own turn to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.base import new_key
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import documents
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Document, Entry, Evidence, Project

MOST_SPANS = 5000
"""Largest number of spans of an entry: each is drawn, and sent back, at every save."""
LONGEST_SPANS = 2_000_000
"""Largest number of characters that the spans of an entry have together: their texts are stored with them."""
STATEMENT = 10_000
"""Largest number of values in the list of one statement."""
STORED = ("id", "key", "field", "start", "end", "text", "level", "document_id")


class Span(TypedDict):
    """A piece of evidence as exports have it: ``[start, end)`` in code points, and its level by name."""

    document: str
    field: str
    start: int
    end: int
    text: str
    level: str


class MarkView(Span):
    """A span as JSON, with its key."""

    key: str


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A span of a document's field, ``[start, end)`` in code points, with its text and its level."""

    key: str
    document: str
    field: str
    start: int
    end: int
    text: str
    level: str
    document_id: int
    id: int | None = None

    def told(self) -> MarkView:
        """Return it as JSON."""
        return {
            "key": self.key,
            "document": self.document,
            "field": self.field,
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "level": self.level,
        }


@dataclass(frozen=True, kw_only=True)
class Marks:
    """An entry's evidence, read before anybody's turn to write.

    Attributes:
        entry_version: Version of the entry that was read.
        project_version: Version of the project: another one may have renamed a field.
        there: The spans that are stored.
        wanted: The spans to be stored; None if they stay.
    """

    entry_version: int
    project_version: int
    there: tuple[Mark, ...]
    wanted: tuple[Mark, ...] | None

    @property
    def after(self) -> tuple[Mark, ...]:
        """The spans once ``wanted`` is stored."""
        return self.there if self.wanted is None else self.wanted

    def fits(self, entry: Entry, project: Project) -> bool:
        """Return whether entry and project are still as they were read."""
        return (self.entry_version, self.project_version) == (entry.version, project.version)


def stored_marks(session: Session, entry: Entry) -> tuple[Mark, ...]:
    """Return the spans of an entry, in their order."""
    # Columns, not rows: a session would keep a row as it was before it is written past it.
    columns = [getattr(Evidence, name) for name in STORED]
    wanted = select(*columns, Document.key).join(Document, Document.id == Evidence.document_id)
    rows = session.execute(wanted.where(Evidence.entry_id == entry.id).order_by(Evidence.id))
    return tuple(Mark(**dict(zip((*STORED, "document"), row, strict=True))) for row in rows)


def read_marks(session: Session, project: Project, schema: ProjectSchema, entry: Entry, rows: object) -> Marks:
    """Look a list of evidence up in its documents. A level that the project had once stays where it is.

    Args:
        session: The database.
        project: The project.
        schema: The project's schema.
        entry: The entry.
        rows: The list; None if the evidence stays as it is.

    Raises:
        Invalid: No list of spans, too many, a span that is not in its document, or no such level.
        NotFound: No such document.
    """
    there = stored_marks(session, entry)
    wanted = None if rows is None else tuple(_wanted(session, project, schema, there, rows))
    return Marks(entry_version=entry.version, project_version=project.version, there=there, wanted=wanted)


def _wanted(
    session: Session,
    project: Project,
    schema: ProjectSchema,
    there: Sequence[Mark],
    rows: object,
) -> Iterator[Mark]:
    """Yield the spans that are to be stored, each once."""
    fetched: dict[str, Document] = {}
    known, levels = {mark.key: mark for mark in there}, {level.id for level in schema.levels}
    seen: set[str] = set()
    length = 0
    for row in _read_rows(rows):
        before = known.get(str(row.get("key")))
        level = _level(row, before, levels)
        if before is not None and _stays(before, row):
            # A span that stays where it is is not looked up again: its document may be a book.
            mark = replace(before, level=level)
        else:
            mark = _found(session, project, row, level, fetched)
        if mark.key in seen:
            raise Invalid(f"evidence '{mark.key}' is in the list twice")
        seen.add(mark.key)
        length += len(mark.text)
        if length > LONGEST_SPANS:
            raise Invalid(f"the evidence of an entry has at most {LONGEST_SPANS:,} characters; mark shorter spans")
        yield mark


def _read_rows(rows: object) -> list[dict[str, object]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Invalid("evidence is a list of objects: document, field, start, end, level")
    if len(rows) > MOST_SPANS:
        raise Invalid(f"an entry has at most {MOST_SPANS:,} pieces of evidence; this one has {len(rows):,}")
    return rows


def _level(row: Mapping[str, object], before: Mark | None, levels: set[str]) -> str:
    """Return the level of a span: one of the project, or the one that it had ``before``."""
    level = row.get("level")
    if not isinstance(level, str):
        raise Invalid("a piece of evidence needs a level")
    if level not in levels and (before is None or before.level != level):
        raise Invalid(f"the project has no level '{level}'")
    return level


def _stays(before: Mark, row: Mapping[str, object]) -> bool:
    place = ("document", "field", "start", "end")
    given = {"field": "text", **row}
    return all(getattr(before, name) == given.get(name) for name in place)


def _found(
    session: Session, project: Project, row: Mapping[str, object], level: str, fetched: dict[str, Document]
) -> Mark:
    key = words(row.get("document"), "a piece of evidence's document")
    if (document := fetched.get(key)) is None:
        document = fetched[key] = documents.get(session, project, key)
    field = words(row.get("field", "text"), "a piece of evidence's field")
    whole = str(document.fields.get(field, ""))
    start, end = row.get("start"), row.get("end")
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(whole):
        raise Invalid(f"evidence {start}-{end} is not in '{field}' of document '{document.key}' ({len(whole)} long)")
    return Mark(
        key=words(row.get("key") or "", "a piece of evidence's key", 200).strip() or new_key(),
        document=document.key,
        field=field,
        start=int(start),
        end=int(end),
        text=whole[start:end],
        level=level,
        document_id=document.id,
    )


def write_marks(session: Session, entry: Entry, there: Sequence[Mark], wanted: Sequence[Mark]) -> None:
    """Store spans in the place of those that are there. Only what differs is written, if their order allows it."""
    keep = {mark.key for mark in wanted} & {mark.key for mark in there}
    staying = [mark.key for mark in there if mark.key in keep]
    if [mark.key for mark in wanted[: len(staying)]] != staying:
        # Spans are listed by the number of their row, so another order needs new rows.
        keep, staying = set(), []
    _delete_marks(session, [mark for mark in there if mark.key not in keep])
    known = {mark.key: mark for mark in there}
    changed = [
        {"id": known[mark.key].id, **_columns(mark)} for mark in wanted[: len(staying)] if mark != known[mark.key]
    ]
    if changed:
        session.execute(update(Evidence), changed)
    if made := [{"entry_id": entry.id, **_columns(mark)} for mark in wanted[len(staying) :]]:
        session.execute(insert(Evidence), made)


def _delete_marks(session: Session, marks: Sequence[Mark]) -> None:
    gone = [mark.id for mark in marks]
    for begin in range(0, len(gone), STATEMENT):
        session.execute(delete(Evidence).where(Evidence.id.in_(gone[begin : begin + STATEMENT])))


def _columns(mark: Mark) -> dict[str, object]:
    return {name: value for name, value in asdict(mark).items() if name not in ("id", "document")}


def set_evidence(session: Session, project: Project, schema: ProjectSchema, entry: Entry, rows: object) -> None:
    """Look a list of evidence up and store it, in one turn to write.

    Raises:
        Invalid: As :func:`read_marks`.
        NotFound: No such document.
    """
    marks = read_marks(session, project, schema, entry, rows)
    write_marks(session, entry, marks.there, marks.after)


def restore_evidence(session: Session, project: Project, entry: Entry, rows: Sequence[MarkView]) -> None:
    """Bring a list of evidence back as it was, but for what stood in a document that was deleted since."""
    there = stored_marks(session, entry)
    known = {mark.key: mark for mark in there}
    fetched: dict[str, Document] = {}
    names = {row["document"] for row in rows}
    left = select(Document.key).where(Document.project_id == project.id, Document.key.in_(names))
    documents_left = set(session.scalars(left))
    wanted = []
    for row in rows:
        before = known.get(row["key"])
        if before is not None and _stays(before, row):
            wanted.append(replace(before, level=row["level"]))
        elif row["document"] in documents_left:
            wanted.append(_found(session, project, row, row["level"], fetched))
    write_marks(session, entry, there, wanted)
