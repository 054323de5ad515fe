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
    there = dict(session.execute(select(Evidence.key, Evidence.level).where(Evidence.entry_id == entry.id)).all())
    levels = {level.id for level in schema.levels}
    made = []
    for row in rows:
        level = row.get("level")
        if level not in levels and (level is None or there.get(str(row.get("key"))) != level):
            raise Invalid(f"the project has no level '{level}'")
        made.append(_span(session, project, entry, row, str(level)))
    _replace(session, entry, made)


def restore_evidence(session: Session, project: Project, entry: Entry, rows: list[dict[str, Any]]) -> None:
    """Bring a list of evidence back as it was, but for what stood in a document that was deleted since."""
    wanted = [row["document"] for row in rows]
    known = set(
        session.scalars(select(Document.key).where(Document.project_id == project.id, Document.key.in_(wanted)))
    )
    kept = [row for row in rows if row["document"] in known]
    _replace(session, entry, [_span(session, project, entry, row, row["level"]) for row in kept])


def _replace(session: Session, entry: Entry, made: list[Evidence]) -> None:
    keys = [row.key for row in made]
    if repeated := next((key for key in keys if keys.count(key) > 1), None):
        raise Invalid(f"evidence '{repeated}' stands twice in the list")
    session.execute(delete(Evidence).where(Evidence.entry_id == entry.id))
    session.add_all(made)


def _span(session: Session, project: Project, entry: Entry, row: dict[str, Any], level: str) -> Evidence:
    document = documents.get(session, project, words(row.get("document"), "a piece of evidence's document"))
    field = words(row.get("field", "text"), "a piece of evidence's field")
    whole = str(document.fields.get(field, ""))
    start, end = row.get("start"), row.get("end")
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(whole):
        raise Invalid(f"evidence {start}-{end} is not in '{field}' of document '{document.key}' ({len(whole)} long)")
    return Evidence(
        key=words(row.get("key") or new_key(), "a piece of evidence's key", 200),
        entry_id=entry.id,
        document_id=document.id,
        field=field,
        start=int(start),
        end=int(end),
        text=whole[start:end],
        level=level,
    )
