"""Entries and a changed schema: what still has a place moves there, what has none is kept aside and comes back."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.schema import Block, ProjectSchema
from stm_agent.annotate.tables import Entry, Project
from stm_agent.annotate.values import BlockValue, fitting


def migrate_entries(session: Session, project: Project, old: ProjectSchema, new: ProjectSchema) -> int:
    """Move every entry's values into a new schema; return how many entries changed.

    A value whose block is gone, or cannot hold it as it is, goes to ``Entry.migrated`` under the block's id; it comes
    back when a block of that id can hold it again. Evidence keeps its level's id, also of a level that is gone.
    """
    if old.blocks == new.blocks:
        return 0
    before = {block.id: block for block in old.blocks}
    after = {block.id: block for block in new.blocks}
    changed = 0
    # Held, so that what somebody saves at this moment is not overwritten with what it was before.
    for entry in session.scalars(select(Entry).where(Entry.project_id == project.id).with_for_update()):
        values: dict[str, object] = {}
        aside: dict[str, object] = {}
        for key in {**entry.migrated, **entry.values}:
            value, kept = moved(before.get(key), after.get(key), entry.values.get(key), entry.migrated.get(key))
            values |= {key: value} if value is not None else {}
            aside |= {key: kept} if kept is not None else {}
        if values != entry.values or aside != entry.migrated:
            entry.values, entry.migrated = values, aside
            entry.version += 1
            changed += 1
    return changed


def moved(old: Block | None, new: Block | None, value: object, kept: object) -> tuple[BlockValue | None, object]:
    """Return what a block holds after an edit of the schema, and what is kept aside for it; None: nothing.

    Args:
        old: The block as it was; None where there was none.
        new: The block as it is; None where it is gone.
        value: What the block held.
        kept: What was kept aside for it: what has no place, or what ``value`` was made from.
    """
    shown = fitting(old, kept)
    if value is None and shown is not None:
        # The block showed it and somebody emptied the block.
        return None, None
    # A value that was made from what is kept goes back to that; one that was written since counts itself.
    source = kept if value is None or value == shown else value
    fit = fitting(new, source)
    if fit is None:
        return fitting(new, value), source
    if fit != source:
        return fit, source
    return fit, None if source == kept else kept
