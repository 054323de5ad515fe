"""The search over cost: the incumbent as a staircase, and every trial as a dot with what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from stm_agent.inspect.page.course import Course, Spending, course
from stm_agent.inspect.page.dots import Dot, dots
from stm_agent.inspect.page.fates import CONFIRMATION
from stm_agent.inspect.page.record import RunRecord, Values


class Step(TypedDict):
    """The incumbent from a moment on."""

    minutes: float
    usd: float
    value: float
    label: str


class Timeline(TypedDict):
    """Staircase and dots over the whole run, from its beginning.

    Attributes:
        steps: The incumbent; the last step is the confirmation, if there was one.
        dots: The trials.
        end: The last step's other end: the end of the run.
        confirmed: Where the confirmation was made, and what it said in a word; None: there was none.
        confirmation: What the confirmation said.
    """

    steps: list[Step]
    dots: list[Dot]
    end: Step | None
    confirmed: Step | None
    confirmation: str


NO_SEARCH: Timeline = {"steps": [], "dots": [], "end": None, "confirmed": None, "confirmation": ""}
"""The timeline of a run that searched nothing, or whose ledger cannot be read."""


def timeline(record: RunRecord) -> Timeline:
    """Return the search of a run over its cost."""
    path, spent = course(record), Spending(record.calls)
    steps = list(_steps(record, path, spent))
    confirmation = _confirmation(record, path)
    confirmed: Step | None = None
    if steps and confirmation is not None:
        steps.append(_confirmed(record, path, spent, confirmation, steps))
        changed = steps[-1]["value"] != steps[-2]["value"]
        words = "confirmed" if confirmation.get("kept") else "rolled back" if changed else "nothing to confirm"
        confirmed = {**steps[-1], "label": words}
    end: Step | None = {**steps[-1], "minutes": path.seconds / 60, "usd": spent.total} if steps else None
    return {
        "steps": steps,
        "dots": list(dots(record, path, spent)),
        "end": end,
        "confirmed": confirmed,
        "confirmation": " ".join(_last_words(record, path)),
    }


def _steps(record: RunRecord, path: Course, spent: Spending) -> Iterator[Step]:
    """Yield the start, from when it was scored, and what each action took."""
    base = next(record.events("base"), None)
    if base is None:
        return
    value, label = float(base["search"]), "the start"
    seconds = path.seconds_at(base["time"], -1)
    yield {"minutes": seconds / 60, "usd": spent.until(base["time"]), "value": value, "label": label}
    for window in path.windows:
        if gain := float(window.outcome.get("gain", 0.0)):
            value, label = value + gain, str(window.outcome["model"])
            minutes = (window.start + window.length) / 60
            yield {"minutes": minutes, "usd": spent.until(window.ended), "value": value, "label": label}


def _after(record: RunRecord, path: Course) -> Iterator[Values]:
    """Yield the decisions after the last action."""
    for position, entry in enumerate(record.ledger):
        if entry.get("event") == "decision" and path.at_position(position) == len(path.windows):
            yield entry


def _confirmation(record: RunRecord, path: Course) -> Values | None:
    """Return the decision that ended the search; None: the search is not over, or was stopped."""
    found = [entry for entry in _after(record, path) if entry.get("lever") == CONFIRMATION]
    return found[-1] if found else None


def _last_words(record: RunRecord, path: Course) -> Iterator[str]:
    """Yield what the newest confirmation said, and whether an accepted instruction outlived it."""
    found = [entry["text"] for entry in record.events("decision") if entry.get("lever") == CONFIRMATION]
    yield from found[-1:]
    if found:
        yield from (entry["text"] for entry in _after(record, path) if entry.get("lever") == "instruction")


def _confirmed(record: RunRecord, path: Course, spent: Spending, entry: Values, steps: list[Step]) -> Step:
    """Return the incumbent from the confirmation on: of a model that was rolled back, the one confirmed before."""
    seconds = path.seconds_at(entry["time"], len(path.windows))
    where: Step = {**steps[-1], "minutes": seconds / 60, "usd": spent.until(entry["time"])}
    if entry.get("kept"):
        return where
    value, label = _confirmed_before(record, path, steps)
    return {**where, "value": value, "label": label}


def _confirmed_before(record: RunRecord, path: Course, steps: list[Step]) -> tuple[float, str]:
    """Return score and label of the newest model that was confirmed before the last confirmation."""
    found = record.summary.get("models", {}).get("confirmed")
    best = (float(found["search"]), str(found["label"])) if found else (steps[0]["value"], steps[0]["label"])
    value, label, done = steps[0]["value"], steps[0]["label"], 0
    for position, entry in enumerate(record.ledger):
        if entry.get("event") == "decision" and entry.get("lever") == CONFIRMATION and entry.get("kept"):
            index = path.at_position(position)
            for window in path.windows[done : index + 1]:
                gain = float(window.outcome.get("gain", 0.0))
                value, label = value + gain, str(window.outcome["model"]) if gain else label
            best, done = (value, label), max(done, index + 1)
    return best
