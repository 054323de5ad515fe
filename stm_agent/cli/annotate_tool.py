"""What the commands of ``stm-agent annotate`` share: the tool of a workspace, and a project of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stm_agent.annotate.actor import Actor
from stm_agent.errors import ConfigError
from stm_agent.workspace import find_workspace

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from stm_agent.annotate import tables
    from stm_agent.annotate.tool import Tool

Url = Annotated[
    str | None,
    typer.Option(
        "--database", help="SQLAlchemy URL (default: SQLite in the workspace); the password comes from PGPASSWORD."
    ),
]
Project = Annotated[str, typer.Argument(help="A project's name or key.")]
NEEDED = ("sqlalchemy", "alembic", "fastapi", "uvicorn", "argon2", "cryptography", "krippendorff")
SETUP = Actor(0, "setup", "admin")
"""Whoever may use the command line of the tool's machine."""


def check_installed() -> None:
    """Require the extra of the tool.

    Raises:
        ConfigError: It is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise ConfigError("the annotation tool is an extra: python -m pip install 'stm-agent[annotate]'")


def opened(workspace: Path | None, database: str | None, *, team: bool = True) -> Tool:
    """Open the tool of a workspace, or at a database's URL.

    Raises:
        ConfigError: The extra is not installed, or the database cannot be used.
    """
    check_installed()
    from stm_agent.annotate.tool import open_tool

    place = find_workspace(workspace)
    if workspace is None and not (Path.cwd() / "programs").is_dir():
        # Work does not belong in the shipped copy.
        place = Path.cwd()
    return open_tool(place, url=database, team=team)


def project_of(session: Session, name: str) -> tables.Project:
    """Return a project by name or key.

    Raises:
        ConfigError: There is none.
    """
    from sqlalchemy import select

    from stm_agent.annotate.services.projects import called
    from stm_agent.annotate.tables import Project as Row

    row = called(session, name)
    if row is None:
        names = ", ".join(session.scalars(select(Row.name))) or "none yet"
        raise ConfigError(f"project '{name}' does not exist; there are {names}")
    return row
