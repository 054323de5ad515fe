"""The migrations make the tables that the code knows, on both databases, and an odd database is told in one line."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from stm_agent.annotate import people_tables, tables  # noqa: F401 - they fill the metadata
from stm_agent.annotate.base import Base
from stm_agent.annotate.database import Database
from stm_agent.errors import ConfigError


def test_the_migrations_make_what_the_code_knows(tool):
    with tool.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_sqlite_keeps_readers_and_a_writer_apart(small):
    with small.database.reading() as session:
        asked = {name: session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "foreign_keys")}
    assert asked == {"journal_mode": "wal", "foreign_keys": 1}


def test_a_newer_or_an_unreachable_database_is_one_line(small, tmp_path):
    with small.database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    url = small.database.url
    with pytest.raises(ConfigError, match="newer version"):
        Database(url)
    with pytest.raises(ConfigError, match="cannot be used"):
        Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(ConfigError, match="not a database URL"):
        Database("my database")
    with pytest.raises(ConfigError, match="cannot be used"):
        Database(f"sqlite:///{tmp_path}/no/such/folder/x.db")
