"""Undo and redo of an entry, from the record of changes; every step is itself recorded."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import dealt
from stm_agent.annotate.services.differences import Difference, applied, differences, sides
from stm_agent.annotate.services.entries import own_and_fresh, snapshot
from stm_agent.annotate.services.evidence import restore_evidence
from stm_agent.annotate.services.migrating import moved
from stm_agent.annotate.services.recording import history, record
from stm_agent.annotate.services.renaming import name_since
from stm_agent.annotate.tables import Change, Entry, Project


def undo(session: Session, actor: Actor, project: Project, entry: Entry, *, version: int) -> Entry:
    """Take the last change of one's own entry back; undoing again goes further.

    Raises:
        Forbidden: It is somebody else's.
        Invalid: There is nothing to take back.
        Stale: It was saved since ``version``.
    """
    own_and_fresh(session, actor, entry, version)
    done, _ = _stacks(history(session, project, entry.key))
    if not done:
        raise Invalid("there is nothing to undo")
    before, after = sides(done[-1].before, done[-1].after)
    return _bring_back(session, actor, project, entry, "entry.undo", done[-1], leave=after, take=before)


def redo(session: Session, actor: Actor, project: Project, entry: Entry, *, version: int) -> Entry:
    """Do again what was just undone; a new change in between ends that.

    Raises:
        Forbidden: It is somebody else's.
        Invalid: Nothing was undone.
        Stale: It was saved since ``version``.
    """
    own_and_fresh(session, actor, entry, version)
    _, undone = _stacks(history(session, project, entry.key))
    if not undone:
        raise Invalid("there is nothing to redo")
    before, after = sides(undone[-1].before, undone[-1].after)
    return _bring_back(session, actor, project, entry, "entry.redo", undone[-1], leave=before, take=after)


def _stacks(changes: list[Change]) -> tuple[list[Change], list[Change]]:
    """Return the saves that stand, and those that were undone, the next one to take last."""
    done: list[Change] = []
    undone: list[Change] = []
    for change in changes:
        if change.kind == "entry.save":
            done.append(change)
            undone.clear()
        elif change.kind == "entry.undo" and done:
            undone.append(done.pop())
        elif change.kind == "entry.redo" and undone:
            done.append(undone.pop())
    return done, undone


def _bring_back(
    session: Session,
    actor: Actor,
    project: Project,
    entry: Entry,
    kind: str,
    change: Change,
    *,
    leave: Difference,
    take: Difference,
) -> Entry:
    was = snapshot(session, entry)
    finished = dealt.finished(session, entry)
    state = applied(was, _renamed(session, project, change, leave), _renamed(session, project, change, take))
    entry.values, entry.migrated = _values(project, entry, take.get("values", {}))
    entry.name, entry.notes, entry.state = state["name"], state["notes"], state["state"]
    if state["evidence"] != was["evidence"]:
        restore_evidence(session, project, entry, state["evidence"])
    entry.version += 1
    session.flush()
    dealt.settle(session, entry, finished)
    record(session, project, actor, kind, entry.key, *differences(was, snapshot(session, entry)))
    return entry


def _renamed(session: Session, project: Project, change: Change, side: Difference) -> Difference:
    """Return one side of a change with the names that its documents' fields have now."""
    if "marks" not in side:
        return side
    marks = side["marks"]
    names = {field: name_since(session, project, change.id, field) for field in {row["field"] for _, row in marks}}
    return {**side, "marks": [(place, {**row, "field": names[row["field"]]}) for place, row in marks]}


def _values(project: Project, entry: Entry, then: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Return the entry's values with some of then, as the blocks of now hold them, and what is kept aside."""
    blocks = {block.id: block for block in ProjectSchema.model_validate(project.schema).blocks}
    values, aside = dict(entry.values), dict(entry.migrated)
    for key, value in then.items():
        fit, kept = moved(None, blocks.get(key), value, None)
        values.pop(key, None)
        values |= {key: fit} if fit is not None else {}
        aside |= {key: kept} if kept is not None else {}
    return values, aside
