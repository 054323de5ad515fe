"""Documents that were dealt to people: done when an entry on them is finished, or when a person says so."""

from __future__ import annotations

from sqlalchemy import ColumnElement, CompoundSelect, func, select, update
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.services import documents
from stm_agent.annotate.tables import Document, DocumentAssignment, Entry, Evidence, Project


class DealtDocument(documents.DocumentView):
    """A document whole, and whether the person who asks is ``done`` with it; None: it was not dealt to them."""

    done: bool | None


def written_on(*entries: ColumnElement[bool]) -> CompoundSelect[int, int]:
    """Select the documents that entries are on, each with the entry's author: by evidence, else the one begun for."""
    marked = select(Evidence.document_id, Entry.person_id).join(Entry, Entry.id == Evidence.entry_id)
    begun_for = (Entry.project_id == Document.project_id) & (Document.key == Entry.extra["document"].as_string())
    bare = ~select(Evidence.id).where(Evidence.entry_id == Entry.id).exists()
    begun = select(Document.id, Entry.person_id).join(Entry, begun_for).where(bare)
    return marked.where(*entries).union(begun.where(*entries))


def finished(session: Session, entry: Entry) -> set[int]:
    """Return the documents that an entry is on, none before it is done."""
    if entry.state != "done":
        return set()
    return {document for document, _ in session.execute(written_on(Entry.id == entry.id))}


def settle(session: Session, entry: Entry, before: set[int]) -> None:
    """Mark documents as done for an entry's author when it is ``finished`` on them, and open when it is not any more.

    A document with another finished entry of theirs stays done, and so does what they opened by hand stay open.

    Args:
        session: The database.
        entry: The entry, as it is now.
        before: On what it was finished before it changed.
    """
    now = finished(session, entry)
    if lost := before - now:
        own = (Entry.project_id == entry.project_id, Entry.person_id == entry.person_id, Entry.state == "done")
        lost -= {document for document, _ in session.execute(written_on(*own))}
    for some, done in ((now - before, True), (lost, False)):
        if some:
            theirs = (DocumentAssignment.person_id == entry.person_id, DocumentAssignment.document_id.in_(some))
            session.execute(update(DocumentAssignment).where(*theirs).values(done=done))


def say_done(session: Session, actor: Actor, project: Project, key: str, *, yes: bool = True) -> None:
    """Say that one is done with a document, which may have nothing to write about; ``yes`` false opens it again.

    Raises:
        NotFound: The project has no such document.
        Invalid: It was not dealt to this person.
    """
    row = _own(session, actor, documents.get(session, project, key))
    if row is None:
        raise Invalid(f"document '{key}' is not assigned to you")
    row.done = yes


def view(session: Session, actor: Actor, document: Document) -> DealtDocument:
    """Return a document whole, and whether this person is ``done`` with it; None: it was not dealt to them."""
    row = _own(session, actor, document)
    return {**documents.view(document), "done": row.done if row is not None else None}


def _own(session: Session, actor: Actor, document: Document) -> DocumentAssignment | None:
    own = (DocumentAssignment.document_id == document.id, DocumentAssignment.person_id == actor.id)
    return session.scalar(select(DocumentAssignment).where(*own))


def counts(session: Session, project: Project) -> dict[int, tuple[int, int]]:
    """Return by person how many documents of a project were dealt to them, and how many of those are done."""
    wanted = (
        select(DocumentAssignment.person_id, func.count(), func.count().filter(DocumentAssignment.done))
        .join(Document, Document.id == DocumentAssignment.document_id)
        .where(Document.project_id == project.id)
        .group_by(DocumentAssignment.person_id)
    )
    return {person: (given, done) for person, given, done in session.execute(wanted)}
