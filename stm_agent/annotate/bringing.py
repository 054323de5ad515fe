"""What ``stm-agent annotate import`` does with a path: it looks what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.formats import trec
from stm_agent.annotate.incoming import is_archive, read_incoming
from stm_agent.annotate.services import moving, people, projects, searching
from stm_agent.annotate.tables import Project
from stm_agent.annotate.tool import Tool
from stm_agent.errors import ConfigError, DataError

TREC = (".qrels", ".run", ".trec")


def bring(tool: Tool, name: str, path: Path) -> dict[str, Any]:
    """Import documents, a BEIR folder, TREC's files, one of AIANO's files or an archive, all or nothing.

    Returns:
        What came in.

    Raises:
        DataError: The path is none of these.
        Taken: An archive or a project of AIANO's that is here already.
        ConfigError: TREC's files for a project that is not there.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; name a file or a folder")
    if path.suffix in TREC:
        return _trec(tool, name, path)
    if path.suffix == ".aiano" or (path.suffix == ".json" and _is_aiano(path)):
        with tool.database.writing() as session:
            made, unplaced = moving.import_aiano(session, _local(session), path)
            return {"project": made.name, "from": "AIANO", "highlights_without_text": unplaced}
    if path.suffix == ".zip" and is_archive(path):
        with tool.database.writing() as session:
            made = moving.import_archive(session, _local(session), path.read_bytes())
            return {"project": made.name, "from": "archive"}
    incoming = read_incoming(path)
    with tool.database.writing() as session:
        actor = _local(session)
        row = find(session, name) or projects.create(session, actor, name=name, template="judging")
        return {"project": row.name, **moving.bring_in(session, actor, row, incoming).told()}


def _trec(tool: Tool, name: str, path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8", errors="replace")
    tag, run = ("", {}) if trec.is_qrels(text) else trec.read_run(text)
    qrels = {} if run else trec.read_qrels(text)
    with tool.database.writing() as session:
        actor, row = _local(session), find(session, name)
        if row is None:
            raise ConfigError(f"there is no project '{name}' yet; import its documents and queries first")
        if run:
            return {"project": row.name, "run": tag, **searching.put_run(session, actor, row, tag, run)}
        return {"project": row.name, **moving.import_qrels(session, actor, row, qrels).told()}


def find(session: Session, name: str) -> Project | None:
    """Return the project of a name or key."""
    return session.scalar(select(Project).where((Project.key == name) | (Project.name == name)))


def _local(session: Session) -> Actor:
    return people.actor_of(people.local_person(session))


def _is_aiano(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False
