"""What ``stm-agent annotate import`` does with a path: it looks what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from stm_agent.annotate.services import moving, people, projects
from stm_agent.annotate.tables import Project
from stm_agent.annotate.tool import Tool
from stm_agent.errors import DataError


def bring(tool: Tool, name: str, path: Path) -> dict[str, Any]:
    """Import documents, a BEIR folder, one of AIANO's files or an archive, all or nothing; return what came in.

    Raises:
        DataError: The path is none of these.
        Taken: An archive or a project of AIANO's that is here already.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; name a file or a folder")
    with tool.database.writing() as session:
        actor = people.actor_of(people.local_person(session))
        if path.suffix == ".zip":
            made = moving.import_archive(session, actor, path.read_bytes())
            return {"project": made.name, "from": "archive"}
        if path.suffix == ".aiano" or (path.suffix == ".json" and _is_aiano(path)):
            made = moving.import_aiano(session, actor, path)
            return {"project": made.name, "from": "AIANO"}
        row = session.scalar(select(Project).where((Project.key == name) | (Project.name == name)))
        if row is None:
            row = projects.create(session, actor, name=name, template="judging")
        whole = path.is_dir() and (path / "qrels").is_dir()
        read = moving.import_collection if whole else moving.import_documents
        return {"project": row.name, **read(session, actor, row, path).told()}


def _is_aiano(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False
