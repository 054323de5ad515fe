"""Dealing out: each query, or each document, goes to as many people as the project's overlap, evenly."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import cast

from sqlalchemy import CursorResult, Delete, delete, insert, select, update
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid, NotFound
from stm_agent.annotate.services import assigning, dealt, documents
from stm_agent.annotate.tables import Assignment, Document, DocumentAssignment, Entry, Project, Query

Share = tuple[int, int]
"""A query or a document, and a person."""


@dataclass(frozen=True)
class To:
    """To whom something is dealt.

    Attributes:
        people: Names of people of the project; none: all of them.
        each: People that each query or document is to have; None: as many as judge a query of the project.
    """

    people: Sequence[str] = ()
    each: int | None = None


EVERYBODY = To()


@dataclass(frozen=True)
class Dealt:
    """What came of dealing: ``dealt``, the shares that were given out now, and ``of`` how many queries or documents."""

    dealt: int
    of: int


def deal(session: Session, actor: Actor, project: Project, to: To = EVERYBODY) -> Dealt:
    """Give every query its missing judges, those with the fewest queries first.

    Who judged a query is one of its judges, also where it was not dealt to them. What somebody who is gone or shut out
    has not finished is free again.

    Raises:
        Invalid: There are fewer people than each query is to have.
        NotFound: Somebody who is named is not of the project.
    """
    people, each, members = _people(session, actor, project, to, "query")
    every = select(Query.id).where(Query.project_id == project.id)
    here = Assignment.query_id.in_(every)
    session.execute(delete(Assignment).where(here, ~Assignment.done, Assignment.person_id.not_in(members)))
    session.execute(update(Assignment).where(here).values(dealt=True))
    given = session.execute(select(Assignment.query_id, Assignment.person_id).where(here))
    queries = list(session.scalars(every.order_by(Query.id)))
    missing = shares(queries, given, people, each)
    if missing:
        rows = [{"query_id": query, "person_id": person} for query, person in missing]
        session.execute(insert(Assignment), rows)
    return Dealt(len(missing), len(queries))


def deal_documents(
    session: Session,
    actor: Actor,
    project: Project,
    to: To = EVERYBODY,
    *,
    filters: Sequence[str] = (),
    tag: str | None = None,
) -> Dealt:
    """Give documents their missing people, those with the fewest documents first.

    Who finished an entry on a document is one of its people, and done with it. What somebody who is gone or shut out
    has not finished is free again.

    Args:
        session: The database.
        actor: Who deals.
        project: The project.
        to: To whom.
        filters: Conditions on the documents' fields, as in their list.
        tag: Only documents with it.

    Raises:
        Invalid: There are fewer people than each document is to have, or a filter cannot be read.
        NotFound: Somebody who is named is not of the project.
    """
    people, each, members = _people(session, actor, project, to, "document")
    here = DocumentAssignment.document_id.in_(select(Document.id).where(Document.project_id == project.id))
    free = DocumentAssignment.person_id.not_in(members)
    session.execute(delete(DocumentAssignment).where(here, ~DocumentAssignment.done, free))
    wanted = documents.selected(session, project, filters=filters, tag=tag).with_only_columns(Document.id)
    chosen = list(session.scalars(wanted.order_by(Document.position)))
    within = set(chosen)
    theirs = select(DocumentAssignment.document_id, DocumentAssignment.person_id).where(here)
    given = set(session.execute(theirs))
    written = session.execute(dealt.written_on(Entry.project_id == project.id, Entry.state == "done"))
    finished = sorted({(document, person) for document, person in written if document in within} - given)
    missing = shares(chosen, [*given, *finished], people, each)
    for some, done in ((finished, True), (missing, False)):
        if some:
            rows = [{"document_id": document, "person_id": person, "done": done} for document, person in some]
            session.execute(insert(DocumentAssignment), rows)
    return Dealt(len(missing), len(chosen))


def take_back(session: Session, actor: Actor, project: Project) -> int:
    """Take queries back from those who are not done with them; return how many shares. Grades that were given stay."""
    actor.needs("admin")
    here = Assignment.query_id.in_(select(Query.id).where(Query.project_id == project.id))
    return _gone(session, delete(Assignment).where(here, ~Assignment.done, Assignment.dealt))


def take_documents_back(
    session: Session, actor: Actor, project: Project, *, filters: Sequence[str] = (), tag: str | None = None
) -> int:
    """Take documents, all or those that fit, back from those who are not done with them; return how many shares.

    Raises:
        Invalid: A filter cannot be read.
    """
    actor.needs("admin")
    wanted = documents.selected(session, project, filters=filters, tag=tag).with_only_columns(Document.id)
    free = (DocumentAssignment.document_id.in_(wanted), ~DocumentAssignment.done)
    return _gone(session, delete(DocumentAssignment).where(*free))


def _gone(session: Session, rows: Delete) -> int:
    done = session.execute(rows, execution_options={"synchronize_session": False})
    return cast("CursorResult[()]", done).rowcount


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


def _people(session: Session, actor: Actor, project: Project, to: To, what: str) -> tuple[list[int], int, list[int]]:
    """Return to whom it may be dealt, how many each is to have, and everybody of the project.

    If two people assign at once, the second sees what the first assigned.
    """
    actor.needs("admin")
    # Not fully locked: rows that point to the project can still be written.
    session.refresh(project, with_for_update={"key_share": True})
    inside = {person.name: person.id for person in assigning.members(session, project)}
    if unknown := next((name for name in to.people if name not in inside), None):
        raise NotFound(f"'{unknown}' is not an active member of project '{project.name}'")
    people = [inside[name] for name in to.people or inside]
    each = project.overlap if to.each is None else to.each
    if len(people) < each:
        raise Invalid(f"{each} people for each {what}, but there are only {len(people)}; add people or choose fewer")
    return people, each, list(inside.values())
