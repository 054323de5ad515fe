"""The annotation database: SQLite in the workspace, or PostgreSQL by URL, brought to the newest schema when opened."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session as DbSession
from sqlalchemy.orm import sessionmaker

from stm_agent.annotate.private import private_file, private_folder
from stm_agent.annotate.spelling import composed
from stm_agent.errors import ConfigError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30
LOCK = 734_501
"""Name of the lock of migrations, any number that nobody else takes."""
CONNECT_SECONDS = 10
"""Time for a server to answer; without a limit an address that nobody has is waited for for minutes."""
POOL = 20
"""Connections to a server; each request holds one for milliseconds."""


class Database:
    """An engine and its sessions."""

    def __init__(self, url: str) -> None:
        """Open the database at an SQLAlchemy URL and migrate it.

        Raises:
            ConfigError: The URL is not a database URL, or nothing answers there.
        """
        self.url = url
        try:
            self.engine = _engine(url)
            migrate(self.engine)
        except (ArgumentError, ModuleNotFoundError, ValueError) as error:
            raise ConfigError(
                f"'{_shown(url)}' is not a database URL; use sqlite:///file.db or postgresql+psycopg://..."
            ) from error
        except DBAPIError as error:
            reason = (str(error.orig).splitlines() or [type(error.orig).__name__])[0]
            raise ConfigError(f"the database {self.engine.url.render_as_string()} cannot be used: {reason}") from error
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._turn = threading.Lock() if self.engine.dialect.name == "sqlite" else nullcontext()

    @contextmanager
    def reading(self) -> Iterator[DbSession]:
        """Yield a session that sees one state of the database, whatever others save meanwhile."""
        with self._sessions.begin() as session:
            if self.engine.dialect.name != "sqlite":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def writing(self) -> Iterator[DbSession]:
        """Yield a session that is committed when the block ends, and rolled back by an error.

        In SQLite it waits for its turn at the start: a reader that turns writer is refused without waiting. Writers of
        this process stand in line for it: SQLite alone would let each sleep and look again, the last for seconds.
        """
        with self._turn, self._sessions.begin() as session:
            session.connection(execution_options={"writes": True})
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _shown(url: str) -> str:
    """Return a URL without its password."""
    before, at, place = url.rpartition("@")
    scheme, slashes, who = before.partition("://")
    return f"{scheme}{slashes}{who.partition(':')[0]}:***@{place}" if at and slashes else url


def sqlite_url(workspace: Path) -> str:
    """Return the URL of a workspace's own database, which nobody but its owner reads."""
    path = private_file(private_folder(workspace / "annotations") / "annotate.db")
    # SQLite gives the files beside it the rights of the database; those of an earlier version are closed here.
    for beside in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if beside.exists():
            private_file(beside)
    return f"sqlite:///{path}"


def _engine(url: str) -> Engine:
    plain = partial(json.dumps, ensure_ascii=False)
    if not url.startswith("sqlite"):
        patience = {} if "connect_timeout" in url else {"connect_timeout": CONNECT_SECONDS}
        return create_engine(
            url,
            pool_size=POOL,
            max_overflow=POOL,
            pool_pre_ping=True,
            connect_args=patience,
            json_serializer=plain,
        )
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, json_serializer=plain)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: sqlite3.Connection, _record: object) -> None:
        # Our own BEGIN below: the driver's would start a transaction too late to keep writers apart.
        connection.isolation_level = None
        # SQLite's own knows ASCII only: a filter would not find Über by über.
        connection.create_function("lower", 1, lambda value: str(value).lower() if value is not None else None)
        # PostgreSQL's own: letters and their accents as one character each.
        connection.create_function("normalize", 1, lambda value: composed(str(value)) if value is not None else None)
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_SECONDS * 1000}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def migrate(engine: Engine) -> None:
    """Bring a database to the newest schema; a newer one than this version knows is an error.

    Raises:
        ConfigError: The database was written by a newer version.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    ScriptDirectory.from_config(config)
    try:
        # Of two servers that start at once the second waits, and then has nothing to do.
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(f"the database was written by a newer version ({error}); upgrade stm-agent") from error
