"""What became of a trial: which decision was about it, and whether what was taken is in the model at the end.

An expert or a merge that is taken on the search half is provisional: a better one may replace it, and the confirmation
at the end may roll it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from stm_agent.inspect.page.course import Course
from stm_agent.inspect.page.record import RunRecord, Values
from stm_agent.loop.query_map import LEVER as QUERY_MAP

TAKEN, REFUSED, FAILED, TRIED = "taken", "refused", "failed", "tried"
"""What became of a trial; ``tried``: nothing was decided on it alone."""
CONFIRMATION = "confirmation"
"""Lever of the decision at the end of a search."""


class Fate(TypedDict):
    """What became of a trial, and why."""

    outcome: str
    reason: str


@dataclass(frozen=True)
class _Decision:
    """A decision, its position in the ledger, and the index of its action."""

    position: int
    index: int
    entry: Values

    @property
    def kept(self) -> bool:
        return bool(self.entry.get("kept"))

    @property
    def text(self) -> str:
        return str(self.entry["text"])

    @property
    def weights(self) -> Mapping[str, float] | None:
        """Weights of the model that was decided on; None: the decision does not have them."""
        weights = self.entry.get("weights")
        return None if weights is None else {name: weight for name, weight in weights.items() if weight}


class Decisions:
    """The decisions of a run.

    Attributes:
        exported: Weights of the exported model.
    """

    def __init__(self, record: RunRecord, course: Course) -> None:
        """Read the decisions of the ledger."""
        self.exported: Mapping[str, float] = record.report.get("weights", {})
        self._all = [
            _Decision(position, course.at_position(position), entry)
            for position, entry in enumerate(record.ledger)
            if entry.get("event") == "decision"
        ]

    def _of(self, lever: str) -> list[_Decision]:
        return [decision for decision in self._all if decision.entry.get("lever") == lever]

    def of_expert(self, name: str, position: int) -> Fate:
        """Return the fate of an expert: it may be taken alone, or as a part of a merge."""
        if weight := self.exported.get(name):
            return {"outcome": TAKEN, "reason": f"weight {weight:.2f} in the model"}
        later = [decision for decision in self._of("merge") if decision.position > position]
        taken = [decision for decision in later if decision.kept and name in (decision.weights or {})]
        if taken:
            weights = taken[-1].weights or {}
            part = "" if weights == {name: 1.0} else f"weight {weights[name]:.2f} in a merge that was "
            return {"outcome": TAKEN, "reason": f"{part}{self._end_of(taken[-1])}"}
        if later:
            return {"outcome": REFUSED, "reason": f"not taken; {later[0].text}"}
        return {"outcome": TRIED, "reason": ""}

    def of_merge(self, weights: Mapping[str, float], position: int, index: int, *, best: bool) -> Fate:
        """Return the fate of a merge.

        Args:
            weights: Its weights, without those that are 0.
            position: Its position in the ledger.
            index: Index of its action.
            best: Whether it is the best of those with these weights in its search, which differ in their method.
        """
        if self.exported and weights == dict(self.exported) and best:
            return {"outcome": TAKEN, "reason": "exported"}
        own = (entry for entry in self._of("merge") if entry.index == index and entry.position > position)
        decision = next(own, None)
        if decision is None:
            return {"outcome": REFUSED, "reason": ""}
        if decision.kept and best and decision.weights == weights:
            return {"outcome": TAKEN, "reason": self._end_of(decision)}
        return {"outcome": REFUSED, "reason": f"not taken; {decision.text}"}

    def of_query_map(self, position: int, index: int) -> Fate:
        """Return the fate of a map on query vectors: what the decision after it, in the same action, said."""
        own = (entry for entry in self._of(QUERY_MAP) if entry.index == index and entry.position > position)
        decision = next(own, None)
        if decision is None:
            return {"outcome": TRIED, "reason": ""}
        if decision.kept:
            return {"outcome": TAKEN, "reason": self._end_of(decision)}
        return {"outcome": REFUSED, "reason": f"not taken; {decision.text}"}

    def of_instruction(self, index: int, *, is_none: bool) -> Fate | None:
        """Return the fate of an instruction about which nothing was decided alone; None: its search is not over."""
        decision = next((entry for entry in self._of("instruction") if entry.index == index), None)
        if decision is None:
            return None
        if is_none and not decision.kept:
            return {"outcome": TRIED, "reason": f"stays; {decision.text}"}
        return {"outcome": REFUSED, "reason": f"not taken; {decision.text}"}

    def _end_of(self, taken: _Decision) -> str:
        """Return in words what became of a model that was taken provisionally."""
        later = [decision for decision in self._all if decision.position > taken.position]
        if any(decision.kept and decision.weights is not None for decision in later):
            return f"taken provisionally, later replaced; {taken.text}"
        tests = [decision for decision in later if decision.entry.get("lever") == CONFIRMATION]
        return f"taken provisionally; {tests[-1].text if tests else taken.text}"
