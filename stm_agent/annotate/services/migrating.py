"""Entries and a changed schema: what still has a place moves there, what has none is kept aside and comes back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.schema import Block, ProjectSchema
from stm_agent.annotate.tables import Entry, Project


def migrate_entries(session: Session, project: Project, old: ProjectSchema, new: ProjectSchema) -> int:
    """Move every entry's values into a new schema; return how many entries changed.

    A value whose block is gone, or cannot hold it in its new type, goes to ``Entry.migrated`` under the block's id; it
    comes back when a block of that id can hold it again. Evidence keeps its level's id, also of a level that is gone.
    """
    if old.blocks == new.blocks:
        return 0
    blocks = {block.id: block for block in new.blocks}
    changed = 0
    # Held, so that what somebody saves at this moment is not overwritten with what it was before.
    for entry in session.scalars(select(Entry).where(Entry.project_id == project.id).with_for_update()):
        known = {**entry.migrated, **entry.values}
        values = {key: fit for key, value in known.items() if (fit := fitting(blocks.get(key), value)) is not None}
        aside = {key: value for key, value in known.items() if key not in values}
        if values != entry.values or aside != entry.migrated:
            entry.values, entry.migrated = values, aside
            entry.version += 1
            changed += 1
    return changed


def fitting(block: Block | None, value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return a value as a block holds it; None: it has no place there."""
    if block is None or value is None:
        return None
    try:
        return checked_value(block, value)
    except ValueError:
        pass
    if block.type in ("text", "longtext"):
        return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    if block.type == "multiselect" and value in block.options:
        return [value]
    if block.type == "select" and isinstance(value, list) and len(value) == 1 and value[0] in block.options:
        return value[0]
    return None


def checked_value(block: Block, value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return a value of a block's type.

    Raises:
        ValueError: It is of another type, or no option.
    """
    if not _fits(block, value):
        raise ValueError(f"block '{block.name}' holds a {block.type}, not {str(value)[:60]!r}")
    return value


def _fits(block: Block, value: Any) -> bool:  # noqa: ANN401 - a JSON value
    match block.type:
        case "text" | "longtext":
            return isinstance(value, str)
        case "select":
            return isinstance(value, str) and (value == "" or value in block.options)
        case "multiselect":
            return isinstance(value, list) and all(one in block.options for one in value)
        case "boolean":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "date":
            return isinstance(value, str) and _is_date(value)


def _is_date(value: str) -> bool:
    import datetime

    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return False
    return True
