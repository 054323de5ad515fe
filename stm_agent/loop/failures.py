"""Lost levers: which errors cost a lever, which end a run, and how a loss is recorded."""

from __future__ import annotations

from dataclasses import dataclass

from stm_agent.errors import (
    BudgetExceeded,
    CheckFailed,
    FirewallError,
    GenerationError,
    OutOfMemory,
    RunLocked,
    StopRequested,
    StorageError,
)

NEVER_CAUGHT = (StopRequested, StorageError, FirewallError, RunLocked)
"""Errors that end a run in any lever: a stop, a full disk, test opened too early, another process."""

BUDGET, MINUTES = "budget", "minutes"
"""Kinds of loss to a ceiling: one that the same command continues with a higher ceiling, and minutes that decide the
steps of a run, so that more of them make another run."""


@dataclass(frozen=True)
class Failure:
    """A lever that was lost.

    Attributes:
        lever: Name of the lever.
        kind: ``budget``, ``minutes``, ``llm``, ``memory``, ``check`` or ``error``.
        reason: The error's message.
    """

    lever: str
    kind: str
    reason: str


def failure_kind(error: Exception) -> str:
    """Return the kind of a lost lever: ``budget``, ``llm``, ``memory``, ``check`` or ``error``."""
    if isinstance(error, BudgetExceeded):
        return BUDGET
    if isinstance(error, GenerationError):
        return "llm"
    if isinstance(error, OutOfMemory | MemoryError):
        return "memory"
    return "check" if isinstance(error, CheckFailed) else "error"
