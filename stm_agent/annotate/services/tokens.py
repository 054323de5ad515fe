"""Personal API tokens: made while logged in, shown once, kept as hashes, valid until revoked or expired."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session as DbSession
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import now
from stm_agent.annotate.faults import Forbidden, Invalid, NotFound
from stm_agent.annotate.people_tables import ApiToken, Person
from stm_agent.annotate.services.people import digest
from stm_agent.annotate.storable import words

PREFIX = "stmat_"
"""Begins every token, so that scanners of leaked secrets know it."""
MOST = 20
"""Largest number of tokens of one person."""
LONGEST_DAYS = 3650


class TokenView(TypedDict):
    """A token as JSON, without what it is; ``expires_at`` None: never."""

    id: int
    name: str
    created_at: str
    expires_at: str | None


class MadeToken(TokenView):
    """A token that was just made: the only time that it is shown."""

    token: str


def view(row: ApiToken) -> TokenView:
    """Return a token as JSON, without what it is."""
    ends = row.expires_at.isoformat() if row.expires_at else None
    return {"id": row.id, "name": row.name, "created_at": row.created_at.isoformat(), "expires_at": ends}


def listed(session: DbSession, actor: Actor) -> list[TokenView]:
    """Return a person's own tokens, the newest first."""
    own = select(ApiToken).where(ApiToken.person_id == actor.id).order_by(ApiToken.id.desc())
    return [view(row) for row in session.scalars(own)]


def create(session: DbSession, actor: Actor, name: str, *, days: int | None) -> MadeToken:
    """Make a token; it is returned once, and only its hash is kept.

    Args:
        session: The database.
        actor: Whose it is.
        name: What it is for.
        days: After how many days it expires; None: never.

    Raises:
        Invalid: The name is empty, or the person has too many tokens.
    """
    clean = words(name, "a token's name", 200).strip()
    if not clean:
        raise Invalid("a token needs a name that says what it is for")
    if (session.scalar(select(func.count()).where(ApiToken.person_id == actor.id)) or 0) >= MOST:
        raise Invalid(f"you have {MOST} tokens; revoke one first")
    token = f"{PREFIX}{secrets.token_urlsafe(32)}"
    ends = None if days is None else now() + timedelta(days=days)
    row = ApiToken(person_id=actor.id, name=clean, token_hash=digest(token), expires_at=ends)
    session.add(row)
    session.flush()
    return {**view(row), "token": token}


def revoke(session: DbSession, actor: Actor, number: int) -> None:
    """Revoke one of a person's own tokens.

    Raises:
        NotFound: They have none of that number.
    """
    row = session.get(ApiToken, number)
    if row is None or row.person_id != actor.id:
        raise NotFound(f"you have no token {number}")
    session.delete(row)


def person_of(session: DbSession, token: str) -> Person | None:
    """Return whose API token this is; None if it is unknown or has expired."""
    row = session.scalar(select(ApiToken).where(ApiToken.token_hash == digest(token)))
    if row is None or (row.expires_at is not None and row.expires_at < now()):
        return None
    return session.get(Person, row.person_id)


def check_logged_in(token: str) -> None:
    """Require a login: a token that leaks must not make further ones.

    Raises:
        Forbidden: It is an API token.
    """
    if token.startswith(PREFIX):
        raise Forbidden("an API token cannot make or revoke tokens; log in")
