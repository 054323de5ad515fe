"""Events of a run. Observers receive them and cannot change anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict


class Stair(TypedDict):
    """The best score on the search half after an action.

    Attributes:
        seconds: Of all actions until then.
        best: nDCG@10.
    """

    seconds: float
    best: float


class Standing(TypedDict):
    """Where a run stands between two actions.

    Attributes:
        run: The run.
        model: Label of the incumbent.
        ndcg_at_10: Its score on the search half.
        low: Lower end of the interval of that.
        high: Upper end.
        stairs: The best score so far after each action, the start first.
        seconds: Wall time of the run, over all its processes.
        seconds_left: Seconds left for actions; None: no ceiling.
        minutes: Ceiling on minutes; None: no ceiling.
        usd: US dollars spent on LLM calls.
        budget_usd: Ceiling on them; None: no ceiling.
        calls: LLM calls.
        budget_calls: Ceiling on them; None: no ceiling.
    """

    run: str
    model: str
    ndcg_at_10: float
    low: float
    high: float
    stairs: list[Stair]
    seconds: float
    seconds_left: float | None
    minutes: float | None
    usd: float
    budget_usd: float | None
    calls: int
    budget_calls: int | None


class Choice(TypedDict):
    """What a policy decided.

    Attributes:
        number: Number of the decision.
        summary: The action, in one line.
        by: The policy.
        reason: Why.
        seconds: Estimated seconds; None: not estimated.
    """

    number: int
    summary: str
    by: str
    reason: str
    seconds: float | None


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
        standing: Where the run stands, with ``action`` and at the end of the search.
        choice: What was decided, with ``action``.
    """

    kind: Literal["action", "stage", "progress", "decision", "failure", "warning", "note"]
    name: str
    text: str
    done: NotRequired[int]
    total: NotRequired[int]
    standing: NotRequired[Standing]
    choice: NotRequired[Choice]


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
