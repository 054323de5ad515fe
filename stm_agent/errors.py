"""Every error a user can meet, as one tree.

::

    StmAgentError                  exit code 2, shown as one line
    ├── ConfigError                a domain file, flag or name that cannot be used
    ├── DataError                  a collection, corpus, qrels or dataset that is wrong
    ├── AssetError                 an embedded asset that cannot be fetched or verified
    ├── BackboneError              a model that cannot be loaded
    │   └── CheckFailed            a model that loads but fails a named check (carries the number)
    ├── GenerationError            an LLM that cannot be reached or answers unusably
    │   ├── AnswerRejected         one request that the LLM refuses or answers unusably (carries the reason)
    │   ├── AnswersUnusable        one answer after another that cannot be used: another text may do better
    │   └── BudgetExceeded         the hard ceiling on money, calls or minutes was reached
    ├── StorageError               a file that cannot be written or read (disk full, permissions)
    ├── OutOfMemory                memory of the CPU or of the GPU that ran out
    ├── ExecutionError             a cluster, one of its nodes or a store of artefacts that cannot be used
    └── RunError                   a run folder that cannot be used
        ├── RunLocked              another process works on this run
        ├── StopRequested          a user asked the run to stop at its next safe point
        └── FirewallError          test data asked for before the end, or a second time

A message names the thing that is wrong and then the fix. The command line prints it without a
traceback (``--debug`` shows one) and exits with :attr:`StmAgentError.exit_code`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StmAgentError(Exception):
    """Base of all errors that are shown to the user as one line."""

    exit_code = 2


class ConfigError(StmAgentError):
    """Raised when a domain file, a flag or a name cannot be used as given."""


class DataError(StmAgentError):
    """Raised when a collection, its qrels or a dataset is missing, broken or inconsistent."""


class AssetError(StmAgentError):
    """Raised when an embedded asset cannot be fetched, verified or unpacked."""


class BackboneError(StmAgentError):
    """Raised when a model cannot be loaded or does not fit the domain's options."""


class CheckFailed(BackboneError):
    """Raised when a model fails a named check.

    Attributes:
        check: Name of the check, for example ``attention-direction``.
        measured: The number that was wrong.
    """

    def __init__(self, check: str, measured: float, message: str) -> None:
        """Build the one-line message from the check's name, its number and what to do."""
        super().__init__(f"check '{check}' failed ({measured:.3g}): {message}")
        self.check = check
        self.measured = measured
        self._message = message

    def __reduce__(self) -> tuple[type[CheckFailed], tuple[str, float, str]]:
        """Pickle what the constructor takes: workers send their errors to the process of the run."""
        return type(self), (self.check, self.measured, self._message)


class GenerationError(StmAgentError):
    """Raised when a generator cannot be reached or its answer cannot be used.

    Attributes:
        tries: How often the provider was asked in vain.
    """

    tries = 0


class AnswerRejected(GenerationError):
    """Raised when one request is refused or answered unusably; other requests may well succeed.

    Attributes:
        reason: The kind of rejection in a few words, to be counted by.
    """

    def __init__(self, message: str, reason: str = "refused by the provider") -> None:
        """Take the one-line message and the kind of rejection."""
        super().__init__(message)
        self.reason = reason


class AnswersUnusable(GenerationError):
    """Raised when one answer after another cannot be used though the LLM answers: the text that asks is at fault."""


class BudgetExceeded(GenerationError):
    """Raised before a call or a stage that would pass the run's hard ceiling."""


class StorageError(StmAgentError):
    """Raised when a file cannot be read or written."""


class OutOfMemory(StmAgentError):
    """Raised when memory of the CPU or of the GPU runs out."""


class ExecutionError(StmAgentError):
    """Raised when a cluster, one of its nodes or a store of artefacts cannot be used."""


class RunError(StmAgentError):
    """Raised when a run folder cannot be used as asked."""


class RunLocked(RunError):
    """Raised when another process holds the run."""


class StopRequested(RunError):
    """Raised at a safe point after Ctrl-C, SIGTERM or ``stm-agent runs stop``; the same command resumes."""

    exit_code = 130


class FirewallError(RunError):
    """Raised when test judgements are asked for before the end, or a second time."""


@contextmanager
def raised_as(translate: Callable[[BaseException], StmAgentError]) -> Iterator[None]:
    """Turn whatever the block raises into one error of the tree; errors of the tree pass as they are.

    For the few calls that may raise anything: a user's own program, and libraries that pass on the errors of others.

    Args:
        translate: Makes the one-line error of what was raised.
    """
    try:
        yield
    except StmAgentError:
        raise
    except (Exception, SystemExit) as error:
        raise translate(error) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that is not empty; its type's name if there is none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)
