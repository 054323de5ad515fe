"""Whole projects deleted, in parts where they are large: nobody who saves elsewhere waits for it."""

from __future__ import annotations

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.database import Database
from stm_agent.annotate.faults import Forbidden
from stm_agent.annotate.services import projects, runs
from stm_agent.annotate.tables import Query

BEGUN = "deleted in part"
"""Tag of a project whose runs are going, or were when the server was cut off."""


def delete(database: Database, actor: Actor, project: str, *, confirm: str) -> None:
    """Delete a project with all in it, its runs first.

    Cut off half-way, it leaves the project in the archive with a tag, and everything that people wrote; the same
    call deletes it, or it is taken out of the archive and its queries are ranked again.

    Raises:
        Forbidden: The actor is not an administrator, or ``confirm`` is not its name.
        NotFound: The project does not exist.
    """
    actor.needs("admin")
    with database.writing() as session:
        row = projects.find(session, actor, project, also_archived=True)
        if confirm != row.name:
            raise Forbidden(f"to delete project '{row.name}' and everything in it, confirm with its name")
        # In the archive nobody writes into it any more.
        row.archived, row.tags, row.version = True, sorted({*row.tags, BEGUN}), row.version + 1
    runs.drop(database, Query.project_id == row.id)
    with database.writing() as session:
        # Somebody else may have been faster.
        session.delete(projects.find(session, actor, project, also_archived=True))
