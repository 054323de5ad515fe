"""Events of a run. Observers receive them and cannot change anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict


class Event(TypedDict):
    """One event.

    Attributes:
        kind: ``action`` (a policy chose what is next), ``stage`` (a stage begins), ``progress`` (inside a stage),
            ``decision`` (a change was taken, confirmed or refused), ``failure`` (a lever was lost), ``warning`` (the
            run continues with less) or ``note`` (a remark).
        name: The stage or lever.
        text: One line for a person.
        done: Finished units, with ``progress``.
        total: All units, with ``progress``.
    """

    kind: Literal["action", "stage", "progress", "decision", "failure", "warning", "note"]
    name: str
    text: str
    done: NotRequired[int]
    total: NotRequired[int]


Observer = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore an event."""


@dataclass(frozen=True)
class ObserverWatcher:
    """Passes the progress of jobs to an observer; never asks for a stop.

    Attributes:
        observer: Receives the progress.
    """

    observer: Observer

    def progress(self, name: str, text: str, done: int, total: int) -> None:
        """Pass one report to the observer."""
        self.observer({"kind": "progress", "name": name, "text": text, "done": done, "total": total})

    def stop_reason(self) -> str | None:
        """Return None: Ctrl-C ends a single stage at once."""
        return None
