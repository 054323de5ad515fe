"""Levers that were lost: what of an error costs a lever, what ends a run, and how a loss is recorded."""

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
"""What ends a run whatever lever it happens in: a stop, a full disk, a broken rule, another process."""


@dataclass(frozen=True)
class Failure:
    """A lever that was lost.

    Attributes:
        lever: Which one.
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
