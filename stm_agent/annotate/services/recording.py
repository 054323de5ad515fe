"""The record of changes, append-only: provenance, and what undo reads."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.tables import Change, Project


def record(
    session: Session,
    project: Project,
    actor: Actor,
    kind: str,
    target: str,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    """Write down who changed what, and how it was before."""
    session.add(Change(project_id=project.id, person_id=actor.id, kind=kind, target=target, before=before, after=after))


def history(session: Session, project: Project, target: str) -> list[Change]:
    """Return the changes of one thing, oldest first."""
    wanted = select(Change).where(Change.project_id == project.id, Change.target == target).order_by(Change.id)
    return list(session.scalars(wanted))
