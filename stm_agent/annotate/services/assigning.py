"""Who judges what: queries are dealt out so that each has as many people as the project's overlap, evenly."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid, NotFound
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.tables import Assignment, Judgement, Member, Project, Query


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
    """Take somebody out of a project; what they wrote stays, queries they have not finished are free again.

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
        raise NotFound(f"'{name}' is no member of project '{project.name}'")
    queries = select(Query.id).where(Query.project_id == project.id)
    open_ones = (Assignment.person_id == place.person_id, ~Assignment.done, Assignment.query_id.in_(queries))
    session.execute(delete(Assignment).where(*open_ones))
    session.delete(place)


def members(session: Session, project: Project) -> list[Person]:
    """Return the active people of a project."""
    wanted = select(Person).join(Member, Member.person_id == Person.id)
    return list(session.scalars(wanted.where(Member.project_id == project.id, Person.active).order_by(Person.id)))


def deal(session: Session, actor: Actor, project: Project) -> int:
    """Give every query its missing judges, those with the fewest queries first; return how many were given out.

    Who judged a query is one of its judges, also where it was not dealt to them. What somebody who is gone or shut out
    has not finished is free again.

    Raises:
        Invalid: The project has fewer people than its overlap.
    """
    actor.needs("admin")
    people = [person.id for person in members(session, project)]
    if len(people) < project.overlap:
        raise Invalid(
            f"each query is to be judged by {project.overlap} people and the project has {len(people)}; invite more"
        )
    queries = list(session.scalars(select(Query.id).where(Query.project_id == project.id).order_by(Query.id)))
    here = Assignment.query_id.in_(select(Query.id).where(Query.project_id == project.id))
    session.execute(delete(Assignment).where(here, ~Assignment.done, Assignment.person_id.not_in(people)))
    session.execute(update(Assignment).where(here).values(dealt=True))
    load = dict.fromkeys(people, 0)
    given: dict[int, set[int]] = {}
    for query, person in session.execute(select(Assignment.query_id, Assignment.person_id).where(here)):
        given.setdefault(query, set()).add(person)
        load[person] = load.get(person, 0) + 1
    dealt = 0
    for query in queries:
        has = given.get(query, set())
        free = sorted((person for person in people if person not in has), key=lambda person: (load[person], person))
        for person in free[: max(0, project.overlap - len(has))]:
            session.add(Assignment(query_id=query, person_id=person))
            load[person] += 1
            dealt += 1
    session.flush()
    return dealt


def is_dealt(session: Session, project: Project) -> bool:
    """Return whether the queries of a project were dealt out; else everybody may judge all of them."""
    wanted = select(Assignment.id).join(Query, Query.id == Assignment.query_id)
    return session.scalar(wanted.where(Query.project_id == project.id, Assignment.dealt).limit(1)) is not None


def work(session: Session, actor: Actor, project: Project) -> list[dict[str, Any]]:
    """Return the queries a person has been given, open ones first; without any dealing, all of them."""
    rows = session.execute(
        select(Query, Assignment.done)
        .outerjoin(Assignment, (Assignment.query_id == Query.id) & (Assignment.person_id == actor.id))
        .where(Query.project_id == project.id)
        .order_by(Query.id)
    ).all()
    dealt = is_dealt(session, project)
    shown = [(query, state) for query, state in rows if state is not None or not dealt]
    judged = dict(
        session.execute(
            select(Judgement.query_id, func.count()).where(Judgement.person_id == actor.id).group_by(Judgement.query_id)
        ).all()
    )
    found = [
        {"key": query.key, "text": query.text, "done": bool(state), "judged": judged.get(query.id, 0)}
        for query, state in shown
    ]
    return sorted(found, key=lambda one: one["done"])


def progress(session: Session, actor: Actor, project: Project) -> list[dict[str, Any]]:
    """Return for each person of a project: queries given (without any dealing, all), done, and judgements made."""
    actor.needs("reviewer")
    dealt = is_dealt(session, project)
    every = session.scalar(select(func.count()).select_from(Query).where(Query.project_id == project.id))
    rows = []
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
        row = {"name": person.name, "given": given[0] if dealt else every, "done": given[1], "judgements": judged}
        rows.append(row)
    return rows
