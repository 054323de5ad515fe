"""What a run works with, as values: the table of the start race and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NotRequired, TypedDict

from stm_agent.domain.spec import DomainSpec
from stm_agent.loop.failures import Failure

RACE_DOCUMENTS = 300
"""Documents that starts are raced on, those judged and those hard for BM25 first."""


class StartRow(TypedDict):
    """A row of the race as JSON; see :class:`StartScore`."""

    name: str
    ndcg_at_10: float
    seconds_per_1000: float | None


class SpeedRow(TypedDict):
    """A speed as JSON; see :class:`Speed`."""

    passages: float
    queries: float


class StoredPlan(TypedDict):
    """A plan as JSON; plans of older versions have no failures, no speed, and no domain before the race."""

    spec: dict[str, Any]
    race: list[StartRow]
    reasons: list[str]
    failures: NotRequired[list[dict[str, str]]]
    raced: NotRequired[dict[str, Any] | None]
    speed: NotRequired[SpeedRow | None]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Measured encoding speed of a start on this machine.

    Attributes:
        passages: Passages a second.
        queries: Queries a second.
    """

    passages: float
    queries: float


@dataclass(frozen=True, kw_only=True)
class StartScore:
    """One row of the race.

    Attributes:
        name: The model, or ``BM25``.
        ndcg_at_10: Of the search half over the race's documents, without adaptation.
        seconds_per_1000: Seconds to encode 1,000 texts; None: not encoded in this race, or BM25.
    """

    name: str
    ndcg_at_10: float
    seconds_per_1000: float | None

    def to_json(self) -> StartRow:
        """Return the row as JSON values."""
        return {"name": self.name, "ndcg_at_10": self.ndcg_at_10, "seconds_per_1000": self.seconds_per_1000}


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run works with.

    Attributes:
        spec: The domain with start, lengths and experts as they are used.
        race: Table of the start race; empty: there was none.
        reasons: One line for each value that follows from the data or the machine.
        failures: Starts that were lost in the race; a resumed run, which races no more, reports them too.
        raced: The domain as it was before the race, with all its starts; None: there was no race.
        speed: Encoding speed that the plan goes by; None: nothing was measured.
        asked: Start -> tokens of each text that the user asked for; None: the plan chose them, or they are the start's
            own. Not stored: a resumed run reads it from its domain.
    """

    spec: DomainSpec
    race: tuple[StartScore, ...] = ()
    reasons: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    raced: DomainSpec | None = None
    speed: Speed | None = None
    asked: Mapping[str, int | None] = field(default_factory=dict)

    def to_json(self) -> StoredPlan:
        """Return the plan as JSON values."""
        return {
            "spec": self.spec.model_dump(mode="json"),
            "race": [row.to_json() for row in self.race],
            "reasons": list(self.reasons),
            "failures": [asdict(failure) for failure in self.failures],
            "raced": self.raced.model_dump(mode="json") if self.raced else None,
            "speed": {"passages": self.speed.passages, "queries": self.speed.queries} if self.speed else None,
        }

    @classmethod
    def from_json(cls, row: StoredPlan) -> RunPlan:
        """Read :meth:`to_json` back."""
        spec = DomainSpec.model_validate(row["spec"])
        race = tuple(StartScore(**score) for score in row["race"])
        failures = tuple(Failure(**failure) for failure in row.get("failures", ()))
        before = row.get("raced")
        raced = DomainSpec.model_validate(before) if before else None
        measured = row.get("speed")
        speed = Speed(**measured) if measured else None
        return cls(spec=spec, race=race, reasons=tuple(row["reasons"]), failures=failures, raced=raced, speed=speed)
