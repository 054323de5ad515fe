"""What every table of the annotation database has: keys, moments, JSON.

Every row that is exported has a ``key`` that an archive keeps, so that export, import and export again give the same
bytes; ``id`` is only this database's. Rows that two people can edit carry ``version``: a save names the version it
saw, and a stale one is refused.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from sqlalchemy import JSON, DateTime, Dialect, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

Json = JSON().with_variant(JSONB(), "postgresql")


class Utc(TypeDecorator[datetime]):
    """A moment, always aware and always UTC, also in SQLite."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC without a zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give it back with its zone."""
        return None if value is None else value.replace(tzinfo=UTC)


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def new_key() -> str:
    """Return a name that no other row has."""
    return uuid.uuid4().hex


class Base(DeclarativeBase):
    """All tables."""


class Keyed:
    """A row that archives keep under ``key``."""

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), default=new_key)


class Stamped:
    """A row that says when it was made and last changed."""

    created_at: Mapped[datetime] = mapped_column(Utc, default=now)
    updated_at: Mapped[datetime] = mapped_column(Utc, default=now, onupdate=now)
