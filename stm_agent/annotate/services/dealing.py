"""Dealing out: each query, or each document, goes to as many people as the project's overlap, evenly."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.services import assigning, dealt, documents
from stm_agent.annotate.tables import Assignment, Document, DocumentAssignment, Entry, Project, Query

Share = tuple[int, int]
"""A query or a document, and a person."""


def deal(session: Session, actor: Actor, project: Project) -> int:
    """Give every query its missing judges, those with the fewest queries first; return how many were given out.

    Who judged a query is one of its judges, also where it was not dealt to them. What somebody who is gone or shut out
    has not finished is free again.

    Raises:
        Invalid: The project has fewer people than its overlap.
    """
    people = _people(session, actor, project, "query is to be judged")
    every = select(Query.id).where(Query.project_id == project.id)
    here = Assignment.query_id.in_(every)
    session.execute(delete(Assignment).where(here, ~Assignment.done, Assignment.person_id.not_in(people)))
    session.execute(update(Assignment).where(here).values(dealt=True))
    given = session.execute(select(Assignment.query_id, Assignment.person_id).where(here))
    missing = shares(list(session.scalars(every.order_by(Query.id))), given, people, project.overlap)
    if missing:
        rows = [{"query_id": query, "person_id": person} for query, person in missing]
        session.execute(insert(Assignment), rows)
    return len(missing)


def deal_documents(
    session: Session, actor: Actor, project: Project, *, filters: Sequence[str] = (), tag: str | None = None
) -> int:
    """Give documents their missing people, those with the fewest documents first; return how many were given out.

    Who finished an entry on a document is one of its people, and done with it. What somebody who is gone or shut out
    has not finished is free again.

    Args:
        session: The database.
        actor: Who deals.
        project: The project.
        filters: Conditions on the documents' fields, as in their list.
        tag: Only documents with it.

    Raises:
        Invalid: The project has fewer people than its overlap, or a filter cannot be read.
    """
    people = _people(session, actor, project, "document is to be read")
    here = DocumentAssignment.document_id.in_(select(Document.id).where(Document.project_id == project.id))
    free = DocumentAssignment.person_id.not_in(people)
    session.execute(delete(DocumentAssignment).where(here, ~DocumentAssignment.done, free))
    wanted = documents.selected(session, project, filters=filters, tag=tag).with_only_columns(Document.id)
    chosen = list(session.scalars(wanted.order_by(Document.position)))
    within = set(chosen)
    theirs = select(DocumentAssignment.document_id, DocumentAssignment.person_id).where(here)
    given = set(session.execute(theirs))
    written = session.execute(dealt.written_on(Entry.project_id == project.id, Entry.state == "done"))
    finished = sorted({(document, person) for document, person in written if document in within} - given)
    missing = shares(chosen, [*given, *finished], people, project.overlap)
    for some, done in ((finished, True), (missing, False)):
        if some:
            rows = [{"document_id": document, "person_id": person, "done": done} for document, person in some]
            session.execute(insert(DocumentAssignment), rows)
    return len(missing)


def shares(wanted: Iterable[int], given: Iterable[Share], people: Iterable[int], overlap: int) -> list[Share]:
    """Return what is missing until each of ``wanted`` has ``overlap`` people; who has the fewest is next.

    Args:
        wanted: What is dealt out, in this order.
        given: What people have already.
        people: To whom it may go.
        overlap: People that each is to have.
    """
    has: defaultdict[int, set[int]] = defaultdict(set)
    for one, person in given:
        has[one].add(person)
    load = Counter(person for some in has.values() for person in some)
    line = [(load[person], person) for person in people]
    heapify(line)
    missing: list[Share] = []
    for one in wanted:
        open_places = overlap - len(has[one])
        back = []
        while open_places > 0 and line:
            count, person = heappop(line)
            if person not in has[one]:
                missing.append((one, person))
                count += 1
                open_places -= 1
            back.append((count, person))
        for place in back:
            heappush(line, place)
    return missing


def _people(session: Session, actor: Actor, project: Project, what: str) -> list[int]:
    """Return to whom it may be dealt; of two who deal at once the second sees what the first gave out."""
    actor.needs("admin")
    # Not wholly locked: rows that point to the project go on being written.
    session.refresh(project, with_for_update={"key_share": True})
    people = [person.id for person in assigning.members(session, project)]
    if len(people) < project.overlap:
        raise Invalid(f"each {what} by {project.overlap} people and the project has {len(people)}; invite more")
    return people
