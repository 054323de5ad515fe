"""The search over cost: the incumbent as a staircase, and every trial as a dot with what became of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from stm_agent.inspect.page.record import RunRecord, Values
from stm_agent.loop.history import ACTION, OUTCOME

TAKEN, REFUSED, FAILED, TRIED = "taken", "refused", "failed", "tried"
"""What became of a trial; ``tried``: nothing was decided on it alone."""


class Dot(TypedDict):
    """One trial.

    Attributes:
        value: nDCG@10 on the search half; None: it was not scored there.
        off_scale: A score of another kind, such as of a probe on fewer passages; None: no score.
        minutes: Minutes of work of the run until then.
        usd: Dollars of the run until then.
    """

    id: str
    lever: str
    label: str
    value: float | None
    off_scale: float | None
    outcome: str
    reason: str
    minutes: float
    usd: float


class Step(TypedDict):
    """The incumbent from a moment on."""

    minutes: float
    usd: float
    value: float
    label: str


class Timeline(TypedDict):
    """Staircase and dots; ``end`` is the last step's other end."""

    steps: list[Step]
    dots: list[Dot]
    end: Step | None
    confirmation: str


@dataclass(frozen=True)
class _Window:
    """The time from one decision to its outcome: wall times to compare with, and minutes of work."""

    action: Values
    outcome: Values
    began: str
    ended: str
    start: float
    length: float


def timeline(record: RunRecord) -> Timeline:
    """Return the search of a run over its cost."""
    windows, spent = list(_windows(record)), _Spending(record.calls)
    steps = list(_steps(record, windows, spent))
    end: Step | None = None
    if steps:
        last = windows[-1] if windows else None
        minutes = (last.start + last.length) / 60 if last else 0.0
        end = {**steps[-1], "minutes": minutes, "usd": spent.total}
    looks = [entry["text"] for entry in record.events("decision") if entry.get("lever") == "confirmation"]
    dots = list(_dots(record, windows, spent))
    return {"steps": steps, "dots": dots, "end": end, "confirmation": looks[-1] if looks else ""}


class _Spending:
    """Dollars of a run by wall time; calls of earlier versions have no time and count from the beginning."""

    def __init__(self, calls: Sequence[Values]) -> None:
        self._times, self._sums, self.total = list[str](), list[float](), 0.0
        for call in sorted(calls, key=lambda entry: entry.get("time", "")):
            self.total += float(call.get("usd") or 0.0)
            self._times.append(call.get("time", ""))
            self._sums.append(self.total)

    def until(self, time: str) -> float:
        at = bisect_right(self._times, time)
        return self._sums[at - 1] if at else 0.0


def _windows(record: RunRecord) -> Iterator[_Window]:
    """Yield each decision with its outcome; the seconds are those of its stages, whoever built them."""
    outcomes = {entry["number"]: entry for entry in record.events(OUTCOME)}
    start = 0.0
    for action in {entry["number"]: entry for entry in record.events(ACTION)}.values():
        outcome = outcomes.get(action["number"], {})
        length = float(outcome.get("seconds", 0.0))
        yield _Window(action, outcome, action["time"], outcome.get("time", "9999"), start, length)
        start += length


def _steps(record: RunRecord, windows: Sequence[_Window], spent: _Spending) -> Iterator[Step]:
    base = next(record.events("base"), None)
    if base is None:
        return
    value, label = float(base["search"]), "the start"
    yield {"minutes": 0.0, "usd": 0.0, "value": value, "label": label}
    for window in windows:
        if gain := float(window.outcome.get("gain", 0.0)):
            value, label = value + gain, str(window.outcome["model"])
            minutes = (window.start + window.length) / 60
            yield {"minutes": minutes, "usd": spent.until(window.ended), "value": value, "label": label}


def _dots(record: RunRecord, windows: Sequence[_Window], spent: _Spending) -> Iterator[Dot]:
    """Yield all dots; those of one action lie at equal distances, in their order, since stages are shared by runs."""
    weights = record.report.get("weights", {})
    candidates = [*_experts(record, weights), *_merges(record, weights), *_probes(record), *_prompts(record)]
    candidates += _lost(record)
    groups: dict[int, list[tuple[str, Dot]]] = {}
    for time, dot in candidates:
        inside = [at for at, window in enumerate(windows) if window.began <= time <= window.ended]
        groups.setdefault(inside[-1] if inside else len(windows) - 1, []).append((time, dot))
    for at, group in sorted(groups.items()):
        window = windows[at] if at >= 0 else None
        for number, (time, dot) in enumerate(sorted(group, key=lambda pair: pair[0]), 1):
            seconds = window.start + window.length * number / (len(group) + 1) if window else 0.0
            placed: Dot = {**dot, "minutes": seconds / 60, "usd": spent.until(time)}
            yield _decided(record, placed, time, window.ended if window else "")


DECIDED_BY = {"instruction": "instruction", "expert": "merge", "merge": "merge"}
"""Lever of a trial -> lever of the decision that takes one of its trials and refuses the others."""


def _decided(record: RunRecord, dot: Dot, time: str, ended: str) -> Dot:
    """Return a dot with what the decision on its lever means for it: of experts, the next merge's."""
    lever = DECIDED_BY.get(dot["lever"])
    if lever is None or dot["outcome"] == TAKEN or (dot["reason"] and dot["lever"] != "merge"):
        return dot
    later = (entry for entry in record.events("decision") if entry.get("lever") == lever and entry["time"] >= time)
    decision = next(later, None)
    if decision is None or (lever == dot["lever"] and decision["time"] > ended):
        return dot
    if dot["label"].endswith("(none)") and not decision["kept"]:
        return {**dot, "reason": f"stays; {decision['text']}"}
    return {**dot, "outcome": REFUSED, "reason": f"not taken; {decision['text']}"}


def _dot(
    lever: str,
    name: str,
    label: str,
    *,
    value: float | None = None,
    off_scale: float | None = None,
    outcome: str = TRIED,
    reason: str = "",
) -> Dot:
    """Return a dot that has no place on the axes of cost yet."""
    return {
        "id": f"{lever}:{name}",
        "lever": lever,
        "label": label,
        "value": value,
        "off_scale": off_scale,
        "outcome": outcome,
        "reason": reason,
        "minutes": 0.0,
        "usd": 0.0,
    }


def _experts(record: RunRecord, weights: Mapping[str, float]) -> Iterator[tuple[str, Dot]]:
    for entry in record.events("expert"):
        part = f"weight {weights[entry['name']]:.2f} in the model" if weights.get(entry["name"]) else ""
        dot = _dot("expert", entry["name"], f"expert {entry['name']} ({entry['variant']})", value=entry["search"])
        yield entry["time"], {**dot, "outcome": TAKEN if part else TRIED, "reason": part}


def _merges(record: RunRecord, weights: Mapping[str, float]) -> Iterator[tuple[str, Dot]]:
    for number, entry in enumerate(record.events("merge"), 1):
        named = {name: weight for name, weight in zip(entry["experts"], entry["weights"], strict=True) if weight}
        taken = named == dict(weights)
        label = "merge of " + ", ".join(f"{name} {weight:.2f}" for name, weight in named.items())
        dot = _dot("merge", str(number), label, value=entry["dev"], outcome=TAKEN if taken else REFUSED)
        yield entry["time"], {**dot, "reason": "exported" if taken else ""}


def _probes(record: RunRecord) -> Iterator[tuple[str, Dot]]:
    for number, entry in enumerate(record.events("probe"), 1):
        text = f"{entry['steps']} steps; scored on the passages of probes, comparable with probes alone"
        label = f"probe {entry['name']}"
        yield entry["time"], _dot("probe", f"{number}", label, off_scale=entry["search"], reason=text)


def _prompts(record: RunRecord) -> Iterator[tuple[str, Dot]]:
    for trace in record.traces:
        instruction = trace["lever"] == "instruction"
        score = trace["full"] if trace["full"] is not None else trace["mean"]
        outcome = TAKEN if trace["accepted"] else REFUSED if trace["reason"] or score is None else TRIED
        reason = trace["reason"] or ("" if score is not None else "refused before it was scored")
        dot = _dot(trace["lever"], trace["trial"], f"{trace['trial']} ({trace['origin']})")
        dot["value" if instruction else "off_scale"] = score
        yield trace.get("time", ""), {**dot, "outcome": outcome, "reason": reason}


def _lost(record: RunRecord) -> Iterator[tuple[str, Dot]]:
    for number, entry in enumerate(record.events("failure"), 1):
        dot = _dot("failure", str(number), entry["lever"], outcome=FAILED, reason=entry["reason"])
        yield entry["time"], dot
