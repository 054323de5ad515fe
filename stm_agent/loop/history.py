"""What a run decided and what each action brought, as its ledger holds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from typing import TypedDict

from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.menu import BEFORE_DATA, MERGE, ON_RACED, ONLY_DATA, RACED, TRAININGS, read_action
from stm_agent.loop.ledger import Ledger

ACTION, OUTCOME = "action", "outcome"
"""Events of the ledger: a decision, written before it is carried out; and what the action brought."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is done next, and why.

    Attributes:
        action: The action.
        reason: One line.
        by: The policy that decided, or the part of it.
        key: Hash of the action and what it depends on; empty until it is recorded.
        seconds: Estimated seconds; None: not estimated.
        dollars: Estimated US dollars.
    """

    action: Action
    reason: str
    by: str
    key: str = ""
    seconds: float | None = None
    dollars: float = 0.0


class StepRow(TypedDict):
    """A step as JSON; see :class:`Step`."""

    number: int
    action: dict[str, object]
    summary: str
    by: str
    reason: str
    estimated_seconds: float | None
    seconds: float
    gain: float
    expected: float
    failed: bool
    model: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """A decision that was carried out.

    Attributes:
        number: Number of the decision in the run, from 1.
        decision: The decision.
        gain: nDCG@10 that the best model so far gained on the search half.
        expected: The part of the gain that is expected on new queries; the larger its standard error, the smaller.
        seconds: Seconds of its stages, whoever built them; wall time if it failed.
        failed: Whether a lever was lost in it.
        label: The provisional model after it.
    """

    number: int
    decision: Decision
    gain: float
    expected: float
    seconds: float
    failed: bool
    label: str

    def to_json(self) -> StepRow:
        """Return the step as JSON values."""
        decision = self.decision
        return {
            "number": self.number,
            "action": decision.action.to_json(),
            "summary": decision.action.summary,
            "by": decision.by,
            "reason": decision.reason,
            "estimated_seconds": decision.seconds,
            "seconds": round(self.seconds, 1),
            "gain": self.gain,
            "expected": self.expected,
            "failed": self.failed,
            "model": self.label,
        }


def stored_decision(ledger: Ledger, number: int) -> Decision | None:
    """Return a decision that an earlier process of the run made; None: there is none.

    Raises:
        ConfigError: The ledger holds an action that this version does not have.
    """
    for entry in ledger.entries(ACTION):
        if entry["number"] == number:
            return Decision(
                action=read_action(entry["action"]),
                reason=entry["reason"],
                by=entry["by"],
                key=entry["key"],
                seconds=entry["estimate"]["seconds"],
                dollars=entry["estimate"]["dollars"],
            )
    return None


def record_decision(ledger: Ledger, number: int, decision: Decision) -> None:
    """Write a decision before it is carried out."""
    ledger.record(
        ACTION,
        number=number,
        action=decision.action.to_json(),
        by=decision.by,
        reason=decision.reason,
        key=decision.key,
        estimate={"seconds": decision.seconds, "dollars": decision.dollars},
    )


def record_outcome(ledger: Ledger, step: Step) -> None:
    """Write what an action brought; a repetition with the same result is not written again."""
    ledger.record(
        OUTCOME,
        number=step.number,
        kind=step.decision.action.kind,
        gain=round(step.gain, 6),
        expected=round(step.expected, 6),
        failed=step.failed,
        model=step.label,
        seconds=round(step.seconds, 3),
    )


def of_kind(steps: Sequence[Step], kind: str) -> list[Step]:
    """Return the steps of one kind of action that did not fail."""
    return [step for step in steps if step.decision.action.kind == kind and not step.failed]


def credits(outcomes: Sequence[tuple[str, float]]) -> list[float | None]:
    """Return what each action is credited with, in order; None: not known.

    New data gains what the best of the actions after it does, up to the next new data; without one, nothing is known.
    A program gains what the data do that are written next. A start that was raced gains what the best training on
    another start does that comes after it. An expert also gains what the next merge does, which makes use of it.

    Args:
        outcomes: Kind and gain of each action of a run that did not fail.
    """
    credited: list[float | None] = []
    for number, (kind, gain) in enumerate(outcomes):
        if kind == RACED:
            on_start = [later for name, later in outcomes[number + 1 :] if name == ON_RACED]
            credited.append(max(gain, *on_start) if on_start else gain or None)
            continue
        if kind not in ONLY_DATA:
            merged = next((later for name, later in outcomes[number + 1 :] if name == MERGE), 0.0)
            credited.append(gain + max(merged, 0.0) if kind in TRAININGS else gain)
            continue
        later: Iterable[tuple[str, float]] = outcomes[number + 1 :]
        if kind == BEFORE_DATA:
            later = dropwhile(lambda outcome: outcome[0] in ONLY_DATA, later)
        after = list(takewhile(lambda outcome: outcome[0] not in ONLY_DATA, later))
        credited.append(max(0.0, *(gained for _, gained in after)) if after else None)
    return credited


def credited_gains(outcomes: Sequence[tuple[str, float]]) -> dict[str, list[float]]:
    """Return kind -> gains, in order, as :func:`credits` gives them.

    Args:
        outcomes: Kind and gain of each action of a run that did not fail.
    """
    gains: dict[str, list[float]] = {}
    for (kind, _), credit in zip(outcomes, credits(outcomes), strict=True):
        if credit is not None:
            gains.setdefault(kind, []).append(credit)
    return gains


def credited(steps: Sequence[Step]) -> list[float | None]:
    """Return what each step of this run is credited with; see :func:`credits`. One that failed gained nothing."""
    return credits([(step.decision.action.kind, 0.0 if step.failed else step.expected) for step in steps])
