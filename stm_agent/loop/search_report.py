"""The reports of the searches for a program's text, as they are stored in a run's folder and printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from stm_agent.loop.options import Options
from stm_agent.loop.spending_limits import LimitsRow, SpendingLimits


class SearchCost(TypedDict):
    """What a search cost, over all its processes."""

    usd: float
    calls: int
    minutes: float
    prompt_tokens: NotRequired[int]
    completion_tokens: NotRequired[int]
    seconds: NotRequired[float]


class EndedEarly(TypedDict):
    """Why a search ended early, and the ceilings that it had: higher ones continue it."""

    reasons: list[str]
    limits: LimitsRow


class WinnerReport(TypedDict):
    """What every search of a program's text reports.

    Attributes:
        run: The run.
        program: File of the program.
        structured: Whether the generator was asked for typed outputs.
        candidate: File of the winner in the run's folder; None: there is none.
        cost: What the search cost.
        warnings: What it lost.
        accepted: The winner is better by the test.
        reason: Why, in one line.
        written: File that the winner was written to; None: it was not accepted.
        ended: How a ceiling ended the search before its end; None: it did not.
    """

    run: str
    program: str
    structured: bool
    candidate: str | None
    cost: SearchCost
    warnings: list[str]
    accepted: bool
    reason: str
    written: NotRequired[str | None]
    ended: NotRequired[EndedEarly | None]


def ended_early(reasons: Sequence[str], options: Options) -> EndedEarly | None:
    """Return how ceilings ended a search; None: they did not."""
    limits = SpendingLimits.of(options)
    return {"reasons": list(reasons), "limits": limits.to_json()} if reasons else None


def is_final(report: WinnerReport, options: Options) -> bool:
    """Return whether a search has nothing to add to its report: it came to its end, or has no more to spend now."""
    ended = report.get("ended")
    return ended is None or not SpendingLimits.of(options).are_raised(ended["limits"])


class RungRow(TypedDict):
    """A candidate and what each rung said of it; None: it did not get there."""

    trial: str
    rating: float
    pairs: int
    probe: float | None
    lora: float | None


class Agreement(TypedDict):
    """Spearman's correlation of probes and LoRA runs over the candidates that had both; None below three."""

    candidates: int
    spearman: float | None


class ProbeAgreement(Agreement):
    """The same, with the kind of the probe."""

    kind: str


class HeldOut(TypedDict):
    """What examples that were held out said; ``means``: of the first program and of the winner; None: not needed."""

    gain: float
    p_value: float
    means: tuple[float, float] | None
    examples: NotRequired[int]


class ProgramReport(WinnerReport):
    """Report of ``stm-agent synthesize optimize``; a judge has ``held_out``, every other program the rest."""

    candidates: list[RungRow]
    held_out: NotRequired[HeldOut]
    untrained: NotRequired[float]
    verdict: NotRequired[dict[str, object] | None]
    confirmation: NotRequired[dict[str, object] | None]
    probe: NotRequired[ProbeAgreement]
    passages: NotRequired[int]


class PlannerRow(TypedDict):
    """A candidate with its rating."""

    trial: str
    rating: float


class PlannerDecisions(TypedDict):
    """Past decisions that candidates were rated on, that were held out, and that could not be used, by reason."""

    rated: int
    held_out: int
    unused: dict[str, int]


class PlannerReport(WinnerReport):
    """Report of ``stm-agent loop optimize-planner``."""

    candidates: list[PlannerRow]
    decisions: PlannerDecisions
    held_out: HeldOut
