"""Who is in a project, what each was given to do, and how far they are."""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import NotFound
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.services import dealt
from stm_agent.annotate.tables import Assignment, Document, DocumentAssignment, Judgement, Member, Project, Query


class QueryToJudge(TypedDict):
    """A query in a person's list: whether they are done with it, and how many passages of it they judged."""

    key: str
    text: str
    done: bool
    judged: int


def add_member(session: Session, actor: Actor, project: Project, name: str) -> Person:
    """Let somebody into a project.

    Raises:
        NotFound: There is nobody of that name.
    """
    actor.needs("admin")
    person = session.scalar(select(Person).where(Person.name == name))
    if person is None:
        raise NotFound(f"there is nobody called '{name}'")
    there = select(Member.person_id).where(Member.project_id == project.id, Member.person_id == person.id)
    if session.scalar(there) is None:
        session.add(Member(project_id=project.id, person_id=person.id))
    return person


def remove_member(session: Session, actor: Actor, project: Project, name: str) -> None:
    """Take somebody out of a project; what they wrote stays, what they have not finished is free again.

    Raises:
        NotFound: They are no member.
    """
    actor.needs("admin")
    place = session.scalar(
        select(Member)
        .join(Person, Person.id == Member.person_id)
        .where(Member.project_id == project.id, Person.name == name)
    )
    if place is None:
        raise NotFound(f"'{name}' is not a member of project '{project.name}'")
    queries = Assignment.query_id.in_(select(Query.id).where(Query.project_id == project.id))
    texts = DocumentAssignment.document_id.in_(select(Document.id).where(Document.project_id == project.id))
    for table, here in ((Assignment, queries), (DocumentAssignment, texts)):
        session.execute(delete(table).where(table.person_id == place.person_id, ~table.done, here))
    session.delete(place)


def members(session: Session, project: Project) -> list[Person]:
    """Return the active people of a project."""
    wanted = select(Person).join(Member, Member.person_id == Person.id)
    return list(session.scalars(wanted.where(Member.project_id == project.id, Person.active).order_by(Person.id)))


def is_dealt(session: Session, project: Project) -> bool:
    """Return whether the queries of a project were dealt out; else everybody may judge all of them."""
    wanted = select(Assignment.id).join(Query, Query.id == Assignment.query_id)
    return session.scalar(wanted.where(Query.project_id == project.id, Assignment.dealt).limit(1)) is not None


def work(session: Session, actor: Actor, project: Project) -> list[QueryToJudge]:
    """Return the queries a person has been given, open ones first; without any dealing, all of them."""
    rows = session.execute(
        select(Query, Assignment.done)
        .outerjoin(Assignment, (Assignment.query_id == Query.id) & (Assignment.person_id == actor.id))
        .where(Query.project_id == project.id)
        .order_by(Query.id)
    ).all()
    shared = is_dealt(session, project)
    shown = [(query, state) for query, state in rows if state is not None or not shared]
    judged = dict(
        session.execute(
            select(Judgement.query_id, func.count()).where(Judgement.person_id == actor.id).group_by(Judgement.query_id)
        ).all()
    )
    found: list[QueryToJudge] = [
        {"key": query.key, "text": query.text, "done": bool(state), "judged": judged.get(query.id, 0)}
        for query, state in shown
    ]
    return sorted(found, key=lambda one: one["done"])


def progress(session: Session, actor: Actor, project: Project) -> list[dict[str, str | int]]:
    """Return for each person of a project: queries given (without any dealing, all), done, and judgements made.

    Beside them ``documents_given`` and ``documents_done``, which are 0 where no documents were dealt out.
    """
    actor.needs("reviewer")
    shared = is_dealt(session, project)
    documents = dealt.counts(session, project)
    every = session.scalar(select(func.count()).select_from(Query).where(Query.project_id == project.id)) or 0
    rows: list[dict[str, str | int]] = []
    for person in members(session, project):
        given = session.execute(
            select(func.count(), func.count().filter(Assignment.done))
            .join(Query, Query.id == Assignment.query_id)
            .where(Query.project_id == project.id, Assignment.person_id == person.id)
        ).one()
        judged = session.scalar(
            select(func.count())
            .select_from(Judgement)
            .join(Query, Query.id == Judgement.query_id)
            .where(Query.project_id == project.id, Judgement.person_id == person.id)
        )
        documents_given, documents_done = documents.get(person.id, (0, 0))
        rows.append(
            {
                "name": person.name,
                "given": given[0] if shared else every,
                "done": given[1],
                "judgements": judged or 0,
                "documents_given": documents_given,
                "documents_done": documents_done,
            }
        )
    return rows
