"""The tool on SQLite and on a real PostgreSQL that the tests start themselves, on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stm_agent.annotate.tool import Tool, open_tool
from stm_agent.testing.annotate import fill
from stm_agent.testing.browser import browsing, new_page, serving
from stm_agent.testing.postgres import debian_postgres, postgres_or_skip

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hash passwords at the least cost there is: the real one, 0.1 s each, would be a third of these tests' time."""
    import argon2

    class Cheap(argon2.PasswordHasher):
        def __init__(self) -> None:
            super().__init__(time_cost=1, memory_cost=8, parallelism=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argon2, "PasswordHasher", Cheap)
        yield


@pytest.fixture(scope="session", autouse=True)
def migrated_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Begin each new SQLite file as a copy of a migrated one: the migrations are run once, not a thousand times."""
    from sqlalchemy import Engine

    from stm_agent.annotate import database

    template, migrate = tmp_path_factory.mktemp("migrated") / "annotate.db", database.migrate
    made = database.Database(f"sqlite:///{template}")
    with made.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    made.close()

    def copied(engine: Engine) -> None:
        path = Path(engine.url.database or "")
        if engine.dialect.name == "sqlite" and path.is_file() and not path.stat().st_size:
            shutil.copyfile(template, path)
        else:
            migrate(engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "migrate", copied)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a fresh server's own database."""
    yield from postgres_or_skip(debian_postgres(), "Debian: apt-get install postgresql")


@pytest.fixture(scope="session")
def migrated(postgres: str) -> str:
    """The name of a migrated database of the server, of which tests have copies."""
    from stm_agent.annotate.database import Database

    _execute(postgres, "CREATE DATABASE migrated")
    Database(_named(postgres, "migrated")).close()
    return "migrated"


def _named(postgres: str, name: str) -> str:
    return f"{postgres.rpartition('/')[0]}/{name}"


def _execute(postgres: str, *statements: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tool]:
    """A tool in team mode, empty."""
    url = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        template = request.getfixturevalue("migrated")
        drop, create = "DROP DATABASE IF EXISTS own WITH (FORCE)", f"CREATE DATABASE own TEMPLATE {template}"
        _execute(server, drop, create)
        url = _named(server, "own")
    opened = open_tool(tmp_path, url=url, team=True)
    yield opened
    opened.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Tool]:
    """A tool on SQLite, for what no database can change."""
    opened = open_tool(tmp_path, team=True)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the pages of a module."""
    with browsing() as opened:
        yield opened


@pytest.fixture(scope="module")
def url(tool: Tool) -> Iterator[str]:
    """The address of a module's own tool."""
    with serving(tool) as address:
        yield address


@pytest.fixture(scope="module")
def opened(tool: Tool, browser: Browser) -> Iterator[tuple[Page, str]]:
    """One person's page and address, for a module whose own tool has the project Signs."""
    with serving(tool) as url:
        page = new_page(browser, url)
        page.get_by_role("link", name="Signs").wait_for()
        yield page, url
        page.context.close()


@pytest.fixture
def project(tool: Tool) -> str:
    """A judging project with three documents and two queries."""
    return fill(tool)
