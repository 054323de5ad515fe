"""The merge: what it trades between the domain and general tasks, its weights, and how good the surrogate was."""

from __future__ import annotations

from typing import TypedDict

from stm_agent.inspect.front import expert_order
from stm_agent.inspect.page.record import RunRecord, Values


class Point(TypedDict):
    """One merge; ``guess`` is the surrogate's nDCG@10 on the domain, None if it has none."""

    number: int
    domain: float
    general: float
    source: str
    exported: bool
    method: str
    weights: dict[str, float]


class Encoded(TypedDict):
    """A merge that was encoded: what the surrogate expected, and what it scored."""

    guess: float | None
    real: float
    general: float
    weights: dict[str, float]


class Fronts(TypedDict):
    """The newest merge search of a run.

    Attributes:
        encoded: Merges that it encoded.
        earlier: Number of searches before it, whose merges are among the trials alone.
        start: Domain and general score of the start; None: not known.
        weights: Weights of the exported model.
    """

    points: list[Point]
    encoded: list[Encoded]
    earlier: int
    start: list[float] | None
    weights: dict[str, float]
    correlation: float | None
    pick: str


NO_MERGE: Fronts = {
    "points": [],
    "encoded": [],
    "earlier": 0,
    "start": None,
    "weights": {},
    "correlation": None,
    "pick": "",
}
"""The merge of a run whose ledger cannot be read."""


def fronts(record: RunRecord) -> Fronts:
    """Return the Pareto front and the encoded merges; all lists are empty in a run without a merge."""
    searches = list(record.events("front"))
    merges = (entry["experts"] for entry in record.events("merge"))
    experts = expert_order(searches[-1]["experts"], searches[-1].get("order"), merges) if searches else []
    taken = record.report.get("front_taken")
    points = searches[-1]["points"] if searches else []
    base = next(record.events("base"), None)
    return {
        "points": [_point(number, point, experts, number == taken) for number, point in enumerate(points, 1)],
        "encoded": [_encoded(entry) for entry in _last_search(record)],
        "earlier": max(0, len(searches) - 1),
        "start": [base["search"], base["general"]] if base and base.get("general") is not None else None,
        "weights": dict(record.report.get("weights", {})),
        "correlation": record.report.get("rank_correlation"),
        "pick": f"stm-agent merge pick {record.folder.name} --point NUMBER --output FOLDER",
    }


def _last_search(record: RunRecord) -> list[Values]:
    """Return the merges that the newest search encoded: those between its front and the one before."""
    found, newest = list[Values](), list[Values]()
    for entry in record.ledger:
        if entry.get("event") == "merge":
            newest.append(entry)
        elif entry.get("event") == "front":
            found, newest = newest, []
    return found or newest


def _point(number: int, point: Values, experts: list[str], exported: bool) -> Point:
    return {
        "number": number,
        "domain": point["dev"],
        "general": point["general"],
        "source": "real encodes" if point["verified"] else "surrogate",
        "exported": exported,
        "method": str(point.get("method", {}).get("method", "task-arithmetic")),
        "weights": dict(zip(experts, point["weights"], strict=True)),
    }


def _encoded(entry: Values) -> Encoded:
    return {
        "guess": entry.get("surrogate"),
        "real": entry["dev"],
        "general": entry["general"],
        "weights": dict(zip(entry["experts"], entry["weights"], strict=True)),
    }
