"""Queries of entries that were finished without one."""

from __future__ import annotations

from fastapi import APIRouter

from stm_agent.annotate.api.common import The, Who
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.services import making, projects

router = APIRouter(prefix="/projects/{project}/entries/queries", tags=["entries"], route_class=BodyRoute)


@router.get("")
def without_query(project: str, tool: The, who: Who) -> making.WaitingEntries:
    """Return how many finished entries have no query, and the block that would hold it."""
    with tool.database.reading() as session:
        return making.without_query(session, who, projects.find(session, who, project))


@router.post("")
def make_queries(project: str, tool: The, who: Who) -> making.MadeQueries:
    """Make the query of every finished entry that has none."""
    with tool.database.writing() as session:
        return making.make_queries(session, who, projects.find(session, who, project))
