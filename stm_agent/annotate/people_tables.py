"""The tables of people: who they are, how they come in, and the LLMs an administrator set up."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column
from typing_extensions import TypedDict

from stm_agent.annotate.base import Base, Keyed, Stamped, Utc, now


class Person(Keyed, Stamped, Base):
    """Somebody who annotates; ``role`` is ``admin``, ``reviewer`` or ``annotator``."""

    __tablename__ = "people"
    name: Mapped[str] = mapped_column(String(200), unique=True)
    role: Mapped[str] = mapped_column(String(20), default="annotator")
    password: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=1)


class PersonView(TypedDict):
    """A person as JSON."""

    name: str
    role: str
    active: bool
    version: int


class Session(Stamped, Base):
    """A login. Only hashes of its tokens are kept."""

    __tablename__ = "sessions"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    access_hash: Mapped[str] = mapped_column(String(64), unique=True)
    refresh_hash: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime] = mapped_column(Utc)
    refresh_expires_at: Mapped[datetime] = mapped_column(Utc)


class SessionTokens(TypedDict):
    """The tokens of a login, and after how many seconds the access token expires."""

    access_token: str
    refresh_token: str
    expires_in: int


class ApiToken(Stamped, Base):
    """A person's token for scripts, until it is revoked or expires. Only its hash is kept."""

    __tablename__ = "api_tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime | None] = mapped_column(Utc)


class Invitation(Stamped, Base):
    """A link by which somebody joins, once.

    A ``setup`` link is that of the first administrator: a start of the tool prints it, and it ends with the next start,
    or as soon as an administrator can log in.
    """

    __tablename__ = "invitations"
    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    setup: Mapped[bool] = mapped_column(default=False)
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(Utc)
    used_at: Mapped[datetime | None] = mapped_column(Utc)


class LoginFailure(Base):
    """A wrong password, for the rate limit."""

    __tablename__ = "login_failures"
    id: Mapped[int] = mapped_column(primary_key=True)
    who: Mapped[str] = mapped_column(String(300), index=True)
    at: Mapped[datetime] = mapped_column(Utc, default=now)


class Llm(Stamped, Base):
    """An LLM that an administrator set up. Its key is encrypted and never leaves the server."""

    __tablename__ = "llms"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    model: Mapped[str] = mapped_column(String(300))
    api_base: Mapped[str | None] = mapped_column(String(500))
    key_encrypted: Mapped[str | None] = mapped_column(Text)
    system_prompt: Mapped[str] = mapped_column(Text, default="")
    is_default: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)
