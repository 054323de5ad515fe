"""People: let in by password or, alone on a machine, by a token in the URL. Only hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session as DbSession

from stm_agent.annotate.actor import ROLES, Actor
from stm_agent.annotate.base import now
from stm_agent.annotate.faults import Forbidden, Invalid, NotFound, Stale, Taken, TooMany, Unauthorised
from stm_agent.annotate.people_tables import LoginFailure, Person, PersonView, Session, SessionTokens
from stm_agent.annotate.storable import NOWHERE, words

ACCESS, REFRESH = timedelta(hours=1), timedelta(days=14)
SHORTEST, LONGEST = 10, 1000
"""Characters of a password, at least and at most."""
LONGEST_NAME = 200
TRIES, WINDOW = 5, timedelta(minutes=10)
"""Wrong passwords of one name, and in what time, after which it must wait."""
CROWD = 50
"""Wrong passwords of one address in that time: a whole house may be behind it."""


def digest(token: str) -> str:
    """Return what is stored of a token: it is random and long, so a plain hash cannot be guessed back."""
    return hashlib.sha256(token.encode()).hexdigest()


def actor_of(person: Person) -> Actor:
    """Return a person as the services see them."""
    return Actor(person.id, person.name, person.role)


def known_local(session: DbSession) -> Person | None:
    """Return the one user of a tool on loopback, if the tool was used before."""
    return session.scalar(select(Person).where(Person.role == "admin", Person.active).order_by(Person.id).limit(1))


def local_person(session: DbSession) -> Person:
    """Return the one user of a tool on loopback: the first administrator, made if there is none."""
    row = known_local(session)
    if row is None:
        row = Person(name="me", role="admin")
        session.add(row)
        session.flush()
    return row


def add(session: DbSession, *, name: str, role: str, password: str | None) -> Person:
    """Make an account.

    Raises:
        Invalid: No name, no such role, or a short password.
        Taken: The name is there.
    """
    return enter(session, name=name, role=role, stored=None if password is None else hashed(password))


def enter(session: DbSession, *, name: str, role: str, stored: str | None) -> Person:
    """Make an account whose password was hashed before: that takes long, on purpose, and nobody who saves waits.

    Raises:
        Invalid: No name, or no such role.
        Taken: The name is there.
    """
    clean = words(name, "a person's name", LONGEST_NAME).strip()
    if not clean:
        raise Invalid("a person needs a name")
    if clean in NOWHERE:
        raise Invalid(f"the name '{clean}' cannot be part of a URL; choose another one")
    if role not in ROLES:
        raise Invalid(f"there is no role '{role}'; use {', '.join(ROLES)}")
    if session.scalar(select(Person.id).where(Person.name == clean)):
        raise Taken(f"the name '{clean}' is taken; choose another one")
    person = Person(name=clean, role=role, password=stored)
    session.add(person)
    session.flush()
    return person


def hashed(password: str) -> str:
    """Return the argon2 hash of a password.

    Raises:
        Invalid: It is too short.
    """
    from argon2 import PasswordHasher

    if not SHORTEST <= len(password) <= LONGEST:
        raise Invalid(f"use a password of {SHORTEST} to {LONGEST} characters")
    return PasswordHasher().hash(password)


def note_try(session: DbSession, *keys: str) -> list[int]:
    """Count a login as failed before its password is looked at, so that a hundred at once are counted as well."""
    session.execute(delete(LoginFailure).where(LoginFailure.at < now() - WINDOW))
    rows = [LoginFailure(who=key[:LONGEST_NAME]) for key in keys]
    session.add_all(rows)
    session.flush()
    return [row.id for row in rows]


def check_rate(session: DbSession, keys: Mapping[str, int]) -> None:
    """Let a login that was counted be tried, or not.

    Args:
        session: The database.
        keys: By what it is counted (a name, an address), and how often that may fail.

    Raises:
        TooMany: One of the keys failed too often lately.
    """
    for key, most in keys.items():
        counted = session.scalar(select(func.count()).where(LoginFailure.who == key[:LONGEST_NAME])) or 0
        if counted > most:
            raise TooMany(f"too many wrong passwords; wait {WINDOW.seconds // 60} minutes", wait=WINDOW.seconds)


def forget_try(session: DbSession, tries: Sequence[int]) -> None:
    """Take a login out of the count: its password was right, or it was not looked at."""
    session.execute(delete(LoginFailure).where(LoginFailure.id.in_(tries)))


def right_person(session: DbSession, *, name: str, password: str) -> Person | None:
    """Return the person of a name and password; each call verifies one hash, whether or not there is such a name."""
    from argon2 import PasswordHasher
    from argon2.exceptions import VerificationError

    # Made at the first login of any name, so that no later one takes longer.
    nobody = _nobody()
    row = session.scalar(select(Person).where(Person.name == name.strip()))
    stored = row.password if row is not None and row.active and row.password else None
    try:
        PasswordHasher().verify(stored or nobody, password[:LONGEST])
    except VerificationError:
        return None
    return row if stored else None


@cache
def _nobody() -> str:
    """Return the hash of a password that nobody knows, with the same costs as those of people."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(secrets.token_urlsafe(16))


def begin(session: DbSession, person: Person) -> SessionTokens:
    """Return the tokens of a new login."""
    access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    session.execute(delete(Session).where(Session.refresh_expires_at < now()))
    session.add(
        Session(
            person_id=person.id,
            access_hash=digest(access),
            refresh_hash=digest(refresh),
            expires_at=now() + ACCESS,
            refresh_expires_at=now() + REFRESH,
        )
    )
    return {"access_token": access, "refresh_token": refresh, "expires_in": int(ACCESS.total_seconds())}


def who(session: DbSession, token: str) -> Actor:
    """Return whose access token this is.

    Raises:
        Unauthorised: Nobody's, or expired, or the person was shut out.
    """
    row = session.scalar(select(Session).where(Session.access_hash == digest(token)))
    person = session.get(Person, row.person_id) if row is not None else None
    if row is None or person is None or not person.active or row.expires_at < now():
        raise Unauthorised("log in again: the token is unknown or expired")
    return actor_of(person)


def refresh(session: DbSession, token: str) -> SessionTokens:
    """Return new tokens for a refresh token, which then works no more.

    Raises:
        Unauthorised: It is unknown, used or expired.
    """
    row = session.scalar(select(Session).where(Session.refresh_hash == digest(token)).with_for_update())
    person = session.get(Person, row.person_id) if row is not None else None
    if row is None or person is None or not person.active or row.refresh_expires_at < now():
        raise Unauthorised("log in again: the refresh token is unknown or expired")
    session.delete(row)
    return begin(session, person)


def end(session: DbSession, token: str) -> None:
    """Log out."""
    session.execute(delete(Session).where(Session.access_hash == digest(token)))


def set_password(session: DbSession, name: str, password: str) -> Person:
    """Give somebody a new password and let them in; all their logins end. For whoever holds the database.

    Raises:
        NotFound: There is nobody of that name.
        Invalid: The password is too short.
    """
    row = named(session, name)
    row.password, row.active = hashed(password), True
    session.execute(delete(Session).where(Session.person_id == row.id))
    return row


def change_password(session: DbSession, person: Person, *, stored: str, token: str) -> None:
    """Give a person who has shown their old password the new one, as a hash; all their other logins end.

    Raises:
        Forbidden: The old one was changed since it was looked at.
    """
    row = session.get(Person, person.id, with_for_update=True)
    if row is None or row.password != person.password:
        raise Forbidden("the old password is wrong: it was changed just now")
    row.password = stored
    session.execute(delete(Session).where(Session.person_id == row.id, Session.access_hash != digest(token)))


def named(session: DbSession, name: str) -> Person:
    """Return a person by name.

    Raises:
        NotFound: There is nobody of that name.
    """
    row = session.scalar(select(Person).where(Person.name == name))
    if row is None:
        raise NotFound(f"there is nobody called '{name}'")
    return row


def listed(session: DbSession, actor: Actor) -> list[PersonView]:
    """Return everybody."""
    actor.needs("reviewer")
    return [view(row) for row in session.scalars(select(Person).order_by(Person.id))]


def view(row: Person) -> PersonView:
    """Return a person as JSON."""
    return {"name": row.name, "role": row.role, "active": row.active, "version": row.version}


def change(
    session: DbSession,
    actor: Actor,
    name: str,
    *,
    version: int,
    role: str | None = None,
    active: bool | None = None,
) -> Person:
    """Change a person's role, or shut them out; their sessions end at once.

    Raises:
        NotFound: There is nobody of that name.
        Stale: They were changed since ``version``.
        Invalid: No such role, or the last administrator would be gone.
    """
    actor.needs("admin")
    # All administrators, in one order: if two take each other's role, the second sees what the first did.
    held = select(Person).where((Person.role == "admin") | (Person.name == name)).order_by(Person.id)
    # Not so firmly that nobody could write in their names.
    held = held.with_for_update(key_share=True)
    row = next((one for one in session.scalars(held).all() if one.name == name), None)
    if row is None:
        raise NotFound(f"there is nobody called '{name}'")
    if role is not None and role not in ROLES:
        raise Invalid(f"there is no role '{role}'; use {', '.join(ROLES)}")
    if row.version != version:
        raise Stale(f"'{name}'", view(row))
    row.version += 1
    row.role, row.active = role or row.role, row.active if active is None else active
    session.flush()
    if not session.scalar(select(func.count()).where(Person.role == "admin", Person.active)):
        raise Invalid(f"'{name}' is the last administrator; make somebody else an administrator first")
    session.execute(delete(Session).where(Session.person_id == row.id))
    return row
