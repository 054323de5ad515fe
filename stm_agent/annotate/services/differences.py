"""What a change made different, small enough to be recorded at every save, and how it is undone.

A difference holds the parts of an entry that changed: ``name``, ``notes`` and ``state`` as they are, ``values`` by
block (None where there was none), and ``marks``: ``[place in the list, piece of evidence]`` of each one that changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from typing_extensions import TypedDict

from stm_agent.annotate.services.evidence import MarkView

Plain = Literal["name", "notes", "state"]
PLAIN: tuple[Plain, ...] = ("name", "notes", "state")
Placed = tuple[int, MarkView]
"""A piece of evidence behind its place in the list."""


class EntryState(TypedDict):
    """All of an entry that its author writes."""

    name: str
    notes: str
    state: str
    values: dict[str, object]
    evidence: list[MarkView]


class Difference(TypedDict, total=False):
    """One side of what differs between two states of an entry."""

    name: str
    notes: str
    state: str
    values: dict[str, object]
    marks: list[Placed]


def differences(before: EntryState, after: EntryState) -> tuple[Difference, Difference]:
    """Return what differs between two states of an entry, each with its own side of it.

    Args:
        before: ``name``, ``notes``, ``state``, ``values`` and ``evidence``.
        after: The same, later.
    """
    old, new = Difference(), Difference()
    for part in PLAIN:
        if before[part] != after[part]:
            old[part], new[part] = before[part], after[part]
    blocks = before["values"].keys() | after["values"].keys()
    changed = sorted(block for block in blocks if before["values"].get(block) != after["values"].get(block))
    if changed:
        old["values"] = {block: before["values"].get(block) for block in changed}
        new["values"] = {block: after["values"].get(block) for block in changed}
    if before["evidence"] != after["evidence"]:
        old["marks"], new["marks"] = _marks(before["evidence"], after["evidence"])
    return old, new


def _marks(before: Sequence[MarkView], after: Sequence[MarkView]) -> tuple[list[Placed], list[Placed]]:
    later = {row["key"]: row for row in after}
    same = [row["key"] for row in before if later.get(row["key"]) == row]
    if [row["key"] for row in after if row["key"] in set(same)] != same:
        # Some changed places; the whole list says where they were.
        same = []
    common = set(same)
    return (
        [(place, row) for place, row in enumerate(before) if row["key"] not in common],
        [(place, row) for place, row in enumerate(after) if row["key"] not in common],
    )


def applied(state: EntryState, leave: Difference, take: Difference) -> EntryState:
    """Return a state of an entry without one side of a difference and with the other.

    Args:
        state: ``name``, ``notes``, ``state``, ``values`` and ``evidence``.
        leave: The side that the state has.
        take: The side that it is to have.
    """
    result = state.copy()
    for part in PLAIN:
        if part in take:
            result[part] = take[part]
    result["values"] = {**state["values"], **take.get("values", {})}
    if "marks" in take or "marks" in leave:
        gone = {row["key"] for _, row in (*leave.get("marks", ()), *take.get("marks", ()))}
        rows = [row for row in state["evidence"] if row["key"] not in gone]
        for place, row in take.get("marks", ()):
            rows.insert(place, row)
        result["evidence"] = rows
    return result


def sides(before: Mapping[str, object] | None, after: Mapping[str, object] | None) -> tuple[Difference, Difference]:
    """Return both sides of a recorded change; earlier versions recorded two whole states instead."""
    recorded = (dict(before or {}), dict(after or {}))
    if all("evidence" in side for side in recorded):
        return differences(*cast("tuple[EntryState, EntryState]", recorded))
    return cast("tuple[Difference, Difference]", recorded)
