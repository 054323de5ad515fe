"""Evidence: spans of documents that support an entry, saved as the whole list."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from stm_agent.annotate.base import new_key
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import documents
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Document, Entry, Evidence, Project


def set_evidence(
    session: Session, project: Project, schema: ProjectSchema, entry: Entry, rows: list[dict[str, Any]]
) -> None:
    """Put a list of evidence in the place of what is there. A level that the project had once stays where it is.

    Raises:
        Invalid: No list of spans, a span that is not in its document, or no such level.
        NotFound: No such document.
    """
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Invalid("evidence is a list of objects: document, field, start, end, level")
    standing = select(Evidence, Document.key).join(Document, Document.id == Evidence.document_id)
    there = {row.key: (row, key) for row, key in session.execute(standing.where(Evidence.entry_id == entry.id))}
    levels = {level.id for level in schema.levels}
    fetched: dict[str, Document] = {}
    made = []
    for row in rows:
        level = row.get("level")
        before, document = there.get(str(row.get("key")), (None, None))
        if level not in levels and (before is None or before.level != level):
            raise Invalid(f"the project has no level '{level}'")
        if before is not None and row.get("document") == document and _same(before, row):
            made.append(_copy(before, str(level)))
        else:
            made.append(_span(session, project, entry, row, str(level), fetched))
    _replace(session, entry, made)


def restore_evidence(session: Session, project: Project, entry: Entry, rows: list[dict[str, Any]]) -> None:
    """Bring a list of evidence back as it was, but for what stood in a document that was deleted since."""
    wanted = [row["document"] for row in rows]
    known = set(
        session.scalars(select(Document.key).where(Document.project_id == project.id, Document.key.in_(wanted)))
    )
    kept = [row for row in rows if row["document"] in known]
    fetched: dict[str, Document] = {}
    _replace(session, entry, [_span(session, project, entry, row, row["level"], fetched) for row in kept])


def _replace(session: Session, entry: Entry, made: list[Evidence]) -> None:
    keys = [row.key for row in made]
    if repeated := next((key for key in keys if keys.count(key) > 1), None):
        raise Invalid(f"evidence '{repeated}' stands twice in the list")
    session.execute(delete(Evidence).where(Evidence.entry_id == entry.id))
    session.add_all(made)


def _same(before: Evidence, row: dict[str, Any]) -> bool:
    return (before.field, before.start, before.end) == (row.get("field", "text"), row.get("start"), row.get("end"))


def _copy(before: Evidence, level: str) -> Evidence:
    # What stands where it stood is not read again: its document may be a book.
    kept = {name: getattr(before, name) for name in ("key", "entry_id", "document_id", "field", "start", "end", "text")}
    return Evidence(**kept, level=level)


def _span(
    session: Session, project: Project, entry: Entry, row: dict[str, Any], level: str, fetched: dict[str, Document]
) -> Evidence:
    key = words(row.get("document"), "a piece of evidence's document")
    if (document := fetched.get(key)) is None:
        document = fetched[key] = documents.get(session, project, key)
    field = words(row.get("field", "text"), "a piece of evidence's field")
    whole = str(document.fields.get(field, ""))
    start, end = row.get("start"), row.get("end")
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(whole):
        raise Invalid(f"evidence {start}-{end} is not in '{field}' of document '{document.key}' ({len(whole)} long)")
    return Evidence(
        key=words(row.get("key") or "", "a piece of evidence's key", 200).strip() or new_key(),
        entry_id=entry.id,
        document_id=document.id,
        field=field,
        start=int(start),
        end=int(end),
        text=whole[start:end],
        level=level,
    )
