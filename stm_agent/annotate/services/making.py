"""Queries of entries that were finished without one: imported, or finished before a block held the query."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import AnnotateError, Invalid
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services.gathering import of_entry
from stm_agent.annotate.tables import Entry, Project, Query


class WaitingEntries(TypedDict):
    """How many finished entries have no query, and the block that would hold it."""

    waiting: int
    block: str | None


class MadeQueries(TypedDict):
    """How many queries were made, and how many entries have none still, by reason."""

    queries: int
    skipped: dict[str, int]


def block_of_query(project: Project) -> str | None:
    """Return the name of the block that holds a project's queries; None: no block does."""
    schema = ProjectSchema.model_validate(project.schema)
    return next((block.name for block in schema.blocks if block.role == "query"), None)


def without_query(session: Session, actor: Actor, project: Project) -> WaitingEntries:
    """Return how many finished entries have no query (``waiting``), and the ``block`` that would hold it, or None."""
    actor.needs("admin")
    count = session.scalar(select(func.count()).select_from(_waiting(project).subquery()))
    return {"waiting": count or 0, "block": block_of_query(project)}


def make_queries(session: Session, actor: Actor, project: Project) -> MadeQueries:
    """Make the query of every finished entry that has none; its evidence becomes its author's judgements.

    Returns:
        ``queries``, how many were made, and ``skipped``, reason -> how many entries.

    Raises:
        Forbidden: The actor is not an administrator.
        Invalid: No block of the project holds a query.
    """
    actor.needs("admin")
    if block_of_query(project) is None:
        raise Invalid("no block of this project holds the query; choose one in the settings, under Blocks")
    skipped: Counter[str] = Counter()
    made = 0
    for entry in list(session.scalars(_waiting(project))):
        try:
            with session.begin_nested():
                of_entry(session, actor, project, entry)
        except AnnotateError as error:
            skipped[str(error)] += 1
        else:
            made += 1
    return {"queries": made, "skipped": dict(skipped)}


def _waiting(project: Project) -> Select[Entry]:
    asked = select(Query.id).where(Query.entry_id == Entry.id).exists()
    return select(Entry).where(Entry.project_id == project.id, Entry.state == "done", ~asked).order_by(Entry.id)
