"""What ``stm-agent annotate import`` does with a path: it looks what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.formats import archive, irds, trec
from stm_agent.annotate.incoming import Incoming, is_archive, read_incoming
from stm_agent.annotate.reading import decoded
from stm_agent.annotate.services import moving, people, projects, runs
from stm_agent.annotate.tool import Tool
from stm_agent.errors import ConfigError, DataError

TREC = (".qrels", ".run", ".trec")


WRITTEN = "synthetic"
"""Run of a project with the passages that an LLM wrote its queries for: they are in the pool, and blind as the rest."""


def bring(
    tool: Tool, name: str, path: Path, *, name_of: str | None = None, split: str | None = None
) -> dict[str, object]:
    """Import documents, a BEIR folder, TREC's files, one of AIANO's files or an archive, all or nothing.

    A TREC run comes in by parts; one that was cut off half-way is imported again.

    Args:
        tool: The tool.
        name: The project's name.
        path: What to import; ``ir_datasets:NAME`` is a data set of that catalogue.
        name_of: Whose judgements they are; None: the local person's.
        split: The split of a BEIR folder whose queries come in; None: all of them.

    Returns:
        What came in.

    Raises:
        DataError: The path is none of these.
        Taken: An archive or a project of AIANO's that is here already.
        ConfigError: TREC's files for a project that is not there.
    """
    if not path.exists() and not str(path).startswith(irds.SCHEME):
        raise DataError(f"{path} does not exist; name a file or a folder")
    if path.suffix in TREC:
        return _trec(tool, name, path, name_of)
    if path.suffix == ".aiano" or (path.suffix == ".json" and _is_aiano(path)):
        with tool.database.writing() as session:
            made, counts = moving.import_aiano(session, _who(session, name_of), path)
            return {"project": made.name, "from": "AIANO", **counts}
    if path.suffix == ".zip" and is_archive(path):
        unpacked = archive.unpack(path.read_bytes())
        with tool.database.writing() as session:
            made = moving.import_archive(session, _who(session, name_of), unpacked)
            return {"project": made.name, "from": "archive"}
    incoming = irds.read_catalogue(str(path)) if str(path).startswith(irds.SCHEME) else read_incoming(path, split)
    with tool.database.writing() as session:
        actor = _who(session, name_of)
        row = projects.called(session, name) or projects.create(session, actor, name=name, template="judging")
        came = moving.bring_in(session, actor, row, incoming)
        key, named = row.key, row.name
    pool_written(tool, actor, key, incoming)
    return {"project": named, **came.told()}


def pool_written(tool: Tool, actor: Actor, project: str, incoming: Incoming) -> None:
    """Put the passages that an LLM wrote queries for into the pool, as a run: people judge them like any other."""
    if incoming.asked is not None and incoming.asked.written:
        ranking = {query: dict.fromkeys(grades, 1.0) for query, grades in incoming.asked.ranking.items()}
        runs.put_run(tool.database, actor, project, WRITTEN, ranking)


def _trec(tool: Tool, name: str, path: Path, name_of: str | None) -> dict[str, object]:
    text = decoded(path.read_bytes(), str(path))
    tag, run = ("", {}) if trec.is_qrels(text) else trec.read_run(text)
    qrels = {} if run else trec.read_qrels(text)
    with tool.database.writing() as session:
        actor, row = _who(session, name_of), projects.called(session, name)
        if row is None:
            raise ConfigError(f"there is no project '{name}' yet; import its documents and queries first")
        if not run:
            return {"project": row.name, **moving.import_qrels(session, actor, row, qrels).told()}
    return {"project": row.name, "run": tag, **runs.put_run(tool.database, actor, row.key, tag, run)}


def _who(session: Session, name: str | None) -> Actor:
    """Return the person whose judgements come in: one of the tool by name, else the local one.

    Whoever has the database itself may bring in what they like, whosever it is.
    """
    person = people.named(session, name) if name else people.local_person(session)
    return replace(people.actor_of(person), role="admin")


def _is_aiano(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (ValueError, RecursionError):
        return False
