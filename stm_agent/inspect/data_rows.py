"""The rows of a run's training data as JSON values."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Positive(TypedDict):
    """A passage that answers a query; ``teacher`` is the score of a teacher, if one scored it."""

    text: str
    id: str
    grade: int
    teacher: NotRequired[float]


class AuditedNegative(TypedDict):
    """A negative; if it was audited, with the verdict on it, by whom, and the chance that it is relevant.

    Attributes:
        grade: A judge's grade, with the ``reason`` that it gave.
        teacher: Score of a teacher, if one scored it.
    """

    text: str
    id: str
    kind: str
    violates: str
    score: float
    verdict: NotRequired[str]
    by: NotRequired[str]
    chance: NotRequired[float]
    grade: NotRequired[int]
    reason: NotRequired[str]
    teacher: NotRequired[float]


class Shown(TypedDict):
    """A :class:`~stm_agent.synthesize.rows.Row` as JSON values.

    Attributes:
        folder: Its stage.
        program_trial: The trace of its program.
    """

    id: str
    stage: str
    source: str
    query: str
    instruction: str
    type: str
    positives: list[Positive]
    negatives: list[AuditedNegative]
    model: str
    program: str
    program_hash: str
    temperature: float
    trial: int
    request: str
    scores: dict[str, float]
    verdict: str
    reason: str
    folder: str
    program_trial: str
