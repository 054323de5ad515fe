"""Invitations: links by which somebody joins, once, listed and taken back while they are open."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as DbSession
from typing_extensions import TypedDict

from stm_agent.annotate.actor import ROLES, Actor
from stm_agent.annotate.base import now
from stm_agent.annotate.faults import Invalid, NotFound, Unauthorised
from stm_agent.annotate.people_tables import Invitation, Person
from stm_agent.annotate.services import people
from stm_agent.annotate.tables import Member, Project

INVITED = timedelta(days=7)


class InvitationView(TypedDict):
    """An invitation as JSON, without its token; ``project`` is a name, None: it leads into no project."""

    id: int
    role: str
    project: str | None
    expires_at: str


def administered(session: DbSession) -> bool:
    """Return whether an administrator can log in; the one user of a tool on loopback has no password."""
    able = select(Person.id).where(Person.role == "admin", Person.active, Person.password.is_not(None))
    return session.scalar(able.limit(1)) is not None


def first_administrator(session: DbSession) -> str | None:
    """Return an invitation for the first administrator of a team's tool; None if one can log in.

    The links that earlier starts of the tool printed end here.
    """
    session.execute(delete(Invitation).where(Invitation.setup, Invitation.used_at.is_(None)))
    if administered(session):
        return None
    return invite(session, Actor(0, "setup", "admin"), role="admin", project=None, setup=True)


def invite(session: DbSession, actor: Actor, *, role: str, project: Project | None, setup: bool = False) -> str:
    """Return the token of a new invitation; it is shown once and only its hash is kept."""
    actor.needs("admin")
    if role not in ROLES:
        raise Invalid(f"there is no role '{role}'; use {', '.join(ROLES)}")
    token = secrets.token_urlsafe(32)
    session.add(
        Invitation(
            token_hash=people.digest(token),
            role=role,
            setup=setup,
            project_id=project.id if project else None,
            expires_at=now() + INVITED,
        )
    )
    return token


def invitations(session: DbSession, actor: Actor) -> list[InvitationView]:
    """Return the invitations that still let somebody in, the last to end first; their tokens nobody knows any more."""
    actor.needs("admin")
    wanted = (
        select(Invitation, Project.name)
        .outerjoin(Project, Project.id == Invitation.project_id)
        .where(Invitation.used_at.is_(None), Invitation.expires_at > now())
        .order_by(Invitation.id.desc())
    )
    return [
        {"id": row.id, "role": row.role, "project": name, "expires_at": row.expires_at.isoformat()}
        for row, name in session.execute(wanted)
    ]


def revoke(session: DbSession, actor: Actor, number: int) -> None:
    """Take an invitation back: its link lets nobody in.

    Raises:
        NotFound: There is none of that number, or somebody used it.
    """
    actor.needs("admin")
    row = session.get(Invitation, number, with_for_update=True)
    if row is None or row.used_at is not None:
        raise NotFound(f"there is no open invitation {number}")
    session.delete(row)


def invited(session: DbSession, token: str, *, hold: bool = False) -> Invitation:
    """Return the invitation of a link; with ``hold`` nobody else can use it until the transaction ends.

    Raises:
        Unauthorised: The link is unknown, used or too old, or is a setup link and an administrator can log in.
    """
    wanted = select(Invitation).where(Invitation.token_hash == people.digest(token))
    row = session.scalar(wanted.with_for_update() if hold else wanted)
    if row is None or row.used_at is not None or row.expires_at < now():
        raise Unauthorised("this invitation is unknown, used or expired; ask for a new one")
    if row.setup and administered(session):
        raise Unauthorised("this link was for the first administrator, who has joined; ask them for an invitation")
    return row


def join(session: DbSession, *, token: str, name: str, stored: str) -> Person:
    """Make the account of somebody invited, of a hashed password; the link works once.

    Raises:
        Unauthorised: The link is unknown, used or too old.
        Invalid: No name.
        Taken: The name is there.
    """
    row = invited(session, token, hold=True)
    person = people.enter(session, name=name, role=row.role, stored=stored)
    row.used_at = now()
    if row.project_id is not None:
        session.add(Member(project_id=row.project_id, person_id=person.id))
    return person
