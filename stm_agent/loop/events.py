"""What the loop tells whoever watches it. Observers see; they cannot change anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NotRequired, TypedDict


class Event(TypedDict):
    """One thing that happened.

    Attributes:
        kind: ``stage`` (a stage begins), ``progress`` (inside a stage), ``decision`` (a lever was kept or
            rolled back) or ``note`` (a counted warning, a skipped lever).
        name: The stage or lever.
        text: One line for a person.
        done: Finished units, with ``progress``.
        total: All units, with ``progress``.
    """

    kind: Literal["stage", "progress", "decision", "note"]
    name: str
    text: str
    done: NotRequired[int]
    total: NotRequired[int]


Observer = Callable[[Event], None]


def silent(event: Event) -> None:
    """Watch nothing."""
