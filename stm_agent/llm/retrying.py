"""When a provider is asked again, and after how long."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying

LONGEST_WAIT = 60.0
"""Seconds between two tries, at most, whatever a server asks for."""


def retrying(tries: int, patience: float | None) -> Retrying:
    """Return what calls a provider again on rate limits, time-outs and server faults.

    Args:
        tries: How often the provider is asked.
        patience: Seconds after which a silent server is given up for good; None: it is asked again.
    """
    import litellm
    import openai
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    # LiteLLM's errors derive from those of OpenAI's package, except its error for an unavailable service.
    passing = (
        openai.RateLimitError,
        openai.APIConnectionError,
        openai.InternalServerError,
        litellm.exceptions.ServiceUnavailableError,
    )

    def passes(error: BaseException) -> bool:
        if isinstance(error, openai.APITimeoutError):
            return patience is None
        return isinstance(error, passing)

    return Retrying(retry=retry_if_exception(passes), stop=stop_after_attempt(tries), wait=_wait, reraise=True)


def tries_of(attempts: Retrying) -> int:
    """Return how often the provider was asked."""
    return int(attempts.statistics.get("attempt_number", 1))


def _wait(state: RetryCallState) -> float:
    """Wait as the provider asks (``Retry-After``: seconds, or a date), else 1, 2, 4 ... seconds."""
    error = state.outcome.exception() if state.outcome else None
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    wanted = retry_after(headers.get("retry-after"))
    return min(2.0 ** (state.attempt_number - 1) if wanted is None else wanted, LONGEST_WAIT)


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait; None if it asks for none (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((until - datetime.now(until.tzinfo)).total_seconds(), 0.0)
