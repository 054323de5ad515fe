"""What a DSPy program asked of a client while it ran, and the client's errors inside DSPy's."""

from __future__ import annotations

from dataclasses import dataclass, field

from stm_agent.errors import StmAgentError
from stm_agent.llm.answer import Completion


@dataclass
class CallRecord:
    """What a DSPy program asked for while it ran.

    Attributes:
        completions: Every usable answer, in order.
        calls: Calls that were paid for, retries included.
        inputs_cut: Inputs that were cut to fit the model's context.
        error: The first error of the client. A program may catch it and continue; the caller decides.
    """

    completions: list[Completion] = field(default_factory=list)
    calls: int = 0
    inputs_cut: int = 0
    error: StmAgentError | None = None


def client_error(error: BaseException) -> StmAgentError | None:
    """Return the client's error that DSPy wrapped into one of its own; None if it came from elsewhere."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, StmAgentError):
        cause = cause.__cause__
    return cause
