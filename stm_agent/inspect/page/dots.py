"""The trials of a run as points: experts, merges, probes, instructions, programs, and levers that were lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypedDict

from stm_agent.inspect.page.course import Course, Spending
from stm_agent.inspect.page.fates import FAILED, REFUSED, TAKEN, TRIED, Decisions, Fate
from stm_agent.inspect.page.record import RunRecord, Values
from stm_agent.loop.query_map import LEVER as QUERY_MAP
from stm_agent.traces import Trial


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


Placed = tuple[int, tuple[str, int], Dot]
"""Index of an action, what the dots of an action are sorted by (time, position in the ledger), and the dot."""


def dots(record: RunRecord, course: Course, spent: Spending) -> Iterator[Dot]:
    """Yield all dots; those of one action lie at equal distances, in their order, since stages are shared by runs."""
    groups: dict[int, list[Placed]] = {}
    for placed in (*_of_ledger(record, course), *_of_traces(record, course)):
        groups.setdefault(placed[0], []).append(placed)
    for index, group in sorted(groups.items()):
        start, length = course.span(index)
        for number, (_, (time, _), dot) in enumerate(sorted(group, key=lambda placed: placed[1]), 1):
            seconds = start + length * number / (len(group) + 1)
            placed_dot: Dot = {**dot, "minutes": seconds / 60, "usd": spent.until(time)}
            yield placed_dot


def _of_ledger(record: RunRecord, course: Course) -> Iterator[Placed]:
    decisions, counts = Decisions(record, course), dict[str, int]()
    best = _best_merges(record, course)
    for position, entry in enumerate(record.ledger):
        event, index = str(entry.get("event")), course.at_position(position)
        counts[event] = number = counts.get(event, 0) + 1
        if event == "expert":
            dot = _expert(entry, decisions.of_expert(entry["name"], position))
        elif event == "merge":
            fate = decisions.of_merge(_weights(entry), position, index, best=position in best)
            dot = _merge(number, entry, fate)
        elif event == QUERY_MAP:
            dot = _query_map(number, entry, decisions.of_query_map(position, index))
        elif event == "probe":
            dot = _probe(number, entry)
        elif event == "failure":
            dot = _dot("failure", str(number), entry["lever"], {"outcome": FAILED, "reason": entry["reason"]})
        else:
            continue
        yield index, (entry["time"], position), dot


def _of_traces(record: RunRecord, course: Course) -> Iterator[Placed]:
    decisions = Decisions(record, course)
    for number, trace in enumerate(record.traces):
        time = trace.get("time", "")
        index, dot = course.at_time(time), _prompt(trace)
        if trace["lever"] == "instruction" and dot["outcome"] != TAKEN and not dot["reason"]:
            fate = decisions.of_instruction(index, is_none=trace["origin"] == "none")
            dot = {**dot, **fate} if fate else dot
        yield index, (time, number), dot


def _best_merges(record: RunRecord, course: Course) -> set[int]:
    """Return the position of the best of those merges of an action that have the same weights and other methods."""
    best: dict[tuple[int, str], tuple[float, int]] = {}
    for position, entry in enumerate(record.ledger):
        if entry.get("event") == "merge":
            key = (course.at_position(position), str(sorted(_weights(entry).items())))
            best[key] = max(best.get(key, (-1.0, 0)), (float(entry["dev"]), position))
    return {position for _, position in best.values()}


def _weights(entry: Values) -> dict[str, float]:
    return {name: weight for name, weight in zip(entry["experts"], entry["weights"], strict=True) if weight}


def _dot(lever: str, name: str, label: str, fate: Fate, value: float | None = None, off: float | None = None) -> Dot:
    """Return a dot that has no place on the axes of cost yet."""
    return {
        "id": f"{lever}:{name}",
        "lever": lever,
        "label": label,
        "value": value,
        "off_scale": off,
        **fate,
        "minutes": 0.0,
        "usd": 0.0,
    }


def _expert(entry: Values, fate: Fate) -> Dot:
    return _dot("expert", entry["name"], f"expert {entry['name']} ({entry['variant']})", fate, entry["search"])


def _merge(number: int, entry: Values, fate: Fate) -> Dot:
    label = "merge of " + ", ".join(f"{name} {weight:.2f}" for name, weight in _weights(entry).items())
    return _dot("merge", str(number), label, fate, entry["dev"])


def _query_map(number: int, entry: Values, fate: Fate) -> Dot:
    return _dot("expert", f"map {number}", f"{entry['label']}, {entry['kept_step']} steps", fate, entry["search"])


def _probe(number: int, entry: Values) -> Dot:
    text = f"{entry['steps']} steps; scored on the passages of probes, comparable with probes alone"
    return _dot("probe", str(number), f"probe {entry['name']}", {"outcome": TRIED, "reason": text}, off=entry["search"])


def _prompt(trace: Trial) -> Dot:
    score = trace["full"] if trace["full"] is not None else trace["mean"]
    outcome = TAKEN if trace["accepted"] else REFUSED if trace["reason"] or score is None else TRIED
    reason = trace["reason"] or ("" if score is not None else "refused before it was scored")
    scores: Mapping[str, float | None] = {"value" if trace["lever"] == "instruction" else "off": score}
    fate: Fate = {"outcome": outcome, "reason": reason}
    return _dot(trace["lever"], trace["trial"], f"{trace['trial']} ({trace['origin']})", fate, **scores)
