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


@dataclass(frozen=True)
class Failure:
    """A lever that was lost.

    Attributes:
        lever: Name of the lever.
        kind: ``budget``, ``llm``, ``memory``, ``check`` or ``error``.
        reason: The error's message.
    """

    lever: str
    kind: str
    reason: str


def failure_kind(error: Exception) -> str:
    """Return the kind of a lost lever: ``budget``, ``llm``, ``memory``, ``check`` or ``error``."""
    if isinstance(error, BudgetExceeded):
        return "budget"
    if isinstance(error, GenerationError):
        return "llm"
    if isinstance(error, OutOfMemory | MemoryError):
        return "memory"
    return "check" if isinstance(error, CheckFailed) else "error"
