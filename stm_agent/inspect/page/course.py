"""The course of a run: its actions in the order of the ledger, with the minutes of work of each.

Times in a ledger have a resolution of one second, in which several actions may begin and end. So an entry belongs to an
action by its position: to the action whose outcome is written next.
"""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from stm_agent.inspect.page.record import RunRecord, Values
from stm_agent.loop.history import ACTION, OUTCOME


class Spending:
    """Dollars of a run by wall time; calls of earlier versions have no time and count from the beginning."""

    def __init__(self, calls: Sequence[Values]) -> None:
        """Sum the calls up in the order of their times."""
        self._times, self._sums, self.total = list[str](), list[float](), 0.0
        for call in sorted(calls, key=lambda entry: entry.get("time", "")):
            self.total += float(call.get("usd") or 0.0)
            self._times.append(call.get("time", ""))
            self._sums.append(self.total)

    def until(self, time: str) -> float:
        """Return what was spent until a time, inclusive."""
        at = bisect_right(self._times, time)
        return self._sums[at - 1] if at else 0.0


@dataclass(frozen=True, kw_only=True)
class Window:
    """One action with its outcome.

    Attributes:
        number: Number of the action.
        position: Position of the action in the ledger.
        outcome: The newest outcome; empty: there is none yet.
        began: Wall time of the action.
        ended: Wall time of the outcome.
        start: Seconds of work of the run before it.
        length: Seconds of its stages, whoever built them.
    """

    number: int
    position: int
    outcome: Values
    began: str
    ended: str
    start: float
    length: float


@dataclass(frozen=True, kw_only=True)
class Course:
    """All actions of a run, and what lies before and after them.

    An index of an action means, in all methods: -1, before the first action; ``len(windows)``, after the last.

    Attributes:
        windows: The actions, in order.
        before: Seconds before the first action: planning and scoring of the start.
        after: Seconds after the last: confirmation, export and test.
        times: Wall times of the ledger's first entry, the first action, the last outcome and the ledger's last entry.
        outcomes: Position and number of each outcome in the ledger.
    """

    windows: tuple[Window, ...]
    before: float
    after: float
    times: tuple[str, str, str, str]
    outcomes: tuple[tuple[int, int], ...]

    @property
    def seconds(self) -> float:
        """Seconds of the whole run."""
        return self.before + sum(window.length for window in self.windows) + self.after

    def span(self, index: int) -> tuple[float, float]:
        """Return where an action begins, in seconds of the run, and how many seconds it takes."""
        if index < 0:
            return 0.0, self.before
        if index >= len(self.windows):
            return self.seconds - self.after, self.after
        return self.windows[index].start, self.windows[index].length

    def at_position(self, position: int) -> int:
        """Return the index of the action that an entry of the ledger belongs to; between two, that of the earlier."""
        numbers = [window.number for window in self.windows]
        number = next((number for at, number in self.outcomes if at >= position and number in numbers), None)
        if number is not None:
            index = numbers.index(number)
            return index if position >= self.windows[index].position else index - 1
        open_ = self.windows and not self.windows[-1].outcome
        if not self.windows or position < self.windows[0].position:
            return -1
        return len(self.windows) - 1 if open_ else len(self.windows)

    def at_time(self, time: str) -> int:
        """Return the index of the first action that a wall time fits; a time between two actions is the earlier's."""
        for index, window in enumerate(self.windows):
            if time <= window.ended:
                return index if time >= window.began or not time else index - 1
        return len(self.windows)

    def seconds_at(self, time: str, index: int) -> float:
        """Return the seconds of the run at a wall time before the first action or after the last."""
        first, began, ended, last = self.times
        start, length = self.span(index)
        share = _share(first, time, began) if index < 0 else _share(ended, time, last)
        return start + length * share


def course(record: RunRecord) -> Course:
    """Return the course of a run.

    What the run's clock has beyond the actions is divided between what was before and after them as the ledger's times
    say. Nothing is left to divide if the actions use stages that other runs built.
    """
    ledger = record.ledger
    actions = dict[int, int]()
    for position, entry in enumerate(ledger):
        if entry.get("event") == ACTION:
            actions.setdefault(entry["number"], position)
    ends = [(position, entry["number"]) for position, entry in enumerate(ledger) if entry.get("event") == OUTCOME]
    outcomes: dict[int, Values] = {number: ledger[position] for position, number in ends}
    lengths = {number: float(outcomes.get(number, {}).get("seconds", 0.0)) for number in actions}
    times = _times(ledger, [ledger[position] for position in actions.values()], [ledger[at] for at, _ in ends])
    rest = max(0.0, (record.minutes or 0.0) * 60 - sum(lengths.values()))
    walls = [_between(times[0], times[1]), _between(times[2], times[3])]
    before = rest * walls[0] / sum(walls) if sum(walls) else 0.0
    windows, start = list[Window](), before
    for number, position in actions.items():
        outcome = outcomes.get(number, {})
        windows.append(
            Window(
                number=number,
                position=position,
                outcome=outcome,
                began=ledger[position]["time"],
                ended=outcome.get("time", "9999"),
                start=start,
                length=lengths[number],
            )
        )
        start += lengths[number]
    return Course(windows=tuple(windows), before=before, after=rest - before, times=times, outcomes=tuple(ends))


def _times(
    ledger: Sequence[Values], actions: Sequence[Values], outcomes: Sequence[Values]
) -> tuple[str, str, str, str]:
    """Return the times that :class:`Course` has; without an action, everything lies before the first."""
    known = [str(entry["time"]) for entry in ledger if entry.get("time")]
    first, last = (known[0], known[-1]) if known else ("", "")
    began = str(actions[0]["time"]) if actions else last
    ended = str(outcomes[-1]["time"]) if outcomes else last
    return first, began, ended, last


def _between(start: str, end: str) -> float:
    """Return the seconds from one wall time to another; 0 if one is not known."""
    if not start or not end:
        return 0.0
    first, last = (datetime.datetime.fromisoformat(time) for time in (start, end))
    return max(0.0, (last - first).total_seconds())


def _share(start: str, time: str, end: str) -> float:
    whole = _between(start, end)
    return min(1.0, _between(start, time) / whole) if whole else 0.0
