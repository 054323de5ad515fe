"""A row of a project by its key."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.faults import NotFound
from stm_agent.annotate.tables import Document, Project, Query

Row = TypeVar("Row", Document, Query)


def keyed(session: Session, project: Project, table: type[Row], key: str, what: str, *, lock: bool = False) -> Row:
    """Return the row of ``table`` with this key; ``lock`` keeps other writers away from it until the commit.

    Raises:
        NotFound: The project has none; ``what`` names it.
    """
    wanted = select(table).where(table.project_id == project.id, table.key == key)
    row = session.scalar(wanted.with_for_update() if lock else wanted)
    if row is None:
        raise NotFound(f"project '{project.name}' has no {what} '{key}'")
    return row
