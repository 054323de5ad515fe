"""The tool while it runs: its database, its secret, and how people come in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from stm_agent.annotate.database import Database, sqlite_url
from stm_agent.annotate.finding import Finder
from stm_agent.annotate.jobs import Jobs
from stm_agent.annotate.private import private_file, private_folder
from stm_agent.annotate.secrets import Vault, open_vault
from stm_agent.annotate.services.ceilings import Ceilings
from stm_agent.annotate.services.doors import Clients, Turns
from stm_agent.annotate.services.encoding import Models


@dataclass
class Tool:
    """What every request may use.

    Attributes:
        database: Where everything is.
        vault: Encrypts LLM keys.
        folder: ``annotations/`` of the workspace: database, secret, LLM cache.
        runs: The workspace's runs, whose models can rank.
        finder: Corpora ready to be searched.
        models: Models of the runs, for dense search and pools.
        doors: The ways to the LLMs.
        jobs: Background jobs.
        turns: Who waits for an LLM.
        ceilings: LLM calls that count against the ceilings of projects.
        token: In single-user mode the token in the URL, new at every start; None in team mode.
    """

    database: Database
    vault: Vault
    folder: Path
    runs: Path
    finder: Finder
    models: Models
    doors: Clients
    jobs: Jobs
    turns: Turns
    ceilings: Ceilings
    token: str | None = field(default=None, repr=False)

    def close(self) -> None:
        """Close the database and the LLMs."""
        self.doors.close()
        self.database.close()


def open_tool(workspace: Path, *, url: str | None = None, team: bool = False) -> Tool:
    """Open the tool on a workspace; ``team`` asks everybody to log in.

    Raises:
        ConfigError: The database cannot be used, or the secret is none.
    """
    from stm_agent.workspace import runs_folder

    folder = private_folder(workspace / "annotations")
    private_folder(folder / "llm")
    private_file(folder / "llm.jsonl")
    return Tool(
        database=Database(url or sqlite_url(workspace)),
        vault=open_vault(folder),
        folder=folder,
        runs=runs_folder(workspace),
        finder=Finder(folder / "index"),
        models=Models(runs_folder(workspace)),
        doors=Clients(folder),
        jobs=Jobs(),
        turns=Turns(),
        ceilings=Ceilings(),
        token=None if team else secrets.token_urlsafe(24),
    )
