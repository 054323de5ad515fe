"""What an error of a provider means: this chat is refused, or the provider cannot be used at all."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from stm_agent.errors import AnswerRejected, GenerationError
from stm_agent.llm.answer import BAD_REQUEST, FILTERED, NO_ANSWER, TOO_LONG

_TOO_LONG = re.compile(
    r"context (size|length|limit|window)|maximum context|max(imum)? (input|prompt) (length|tokens)|too many tokens"
    r"|prompt is too long",
    re.IGNORECASE,
)
"""Servers of one's own say it in words that LiteLLM does not know."""
_FILTERED = re.compile(r"content[ _](filter|policy|management)|safety (system|setting)", re.IGNORECASE)
PAYMENT_REQUIRED = 402
_REFUSED_CHAT = (400, 413, 422)
_FAILED_SERVER = (408, 500, 502, 503, 504)


def fault_of(
    error: Exception, event: str, *, model: str, api_base: str | None, patience: float | None
) -> GenerationError:
    """Return the error to raise for a provider's error.

    Args:
        error: What LiteLLM or OpenAI's package raised after the last try.
        event: ``failed``, or ``broke off`` in the middle of a stream.
        model: Name of the model.
        api_base: Address of its server.
        patience: Seconds after which a silent server is given up.
    """
    line = (str(error).splitlines() or [type(error).__name__])[0][:300]
    useless = _provider_fault(error, model, api_base, line)
    return useless if useless is not None else _chat_fault(error, event, model, patience, line)


def _provider_fault(error: Exception, model: str, api_base: str | None, line: str) -> GenerationError | None:
    """Return the error for a provider that answers no chat at all; None: this chat alone failed."""
    import openai

    if _unreachable(error):
        address = f" at {_without_secrets(api_base)}" if api_base else ""
        return GenerationError(f"{model} cannot be reached{address}; see whether its server runs")
    if isinstance(error, openai.AuthenticationError):
        return GenerationError(f"{model} refuses the API key; set the provider's key variable")
    if isinstance(error, openai.PermissionDeniedError):
        return GenerationError(
            f"the key has no access to {model}; ask its provider for access, or name another model: {line}"
        )
    if getattr(error, "status_code", None) == PAYMENT_REQUIRED:
        return GenerationError(f"the account that pays for {model} has no credit; add some at its provider: {line}")
    if isinstance(error, openai.NotFoundError):
        return GenerationError(f"{model} is not known to its provider; correct the name or --api-base: {line}")
    if isinstance(error, openai.RateLimitError):
        return GenerationError(f"{model} is busy or its quota is used up; wait, or raise the provider's limit: {line}")
    return None


def _chat_fault(error: Exception, event: str, model: str, patience: float | None, line: str) -> GenerationError:
    """Return the error for a chat that failed: a rejected answer, if another chat may succeed."""
    import openai

    # In the middle of a stream, LiteLLM reports a time-out only in the words of another error.
    late = isinstance(error, openai.APITimeoutError) or "timed out" in str(error)
    if patience is not None and late:
        return AnswerRejected(f"{model} said nothing for {patience:g} seconds; see whether its server runs", NO_ANSWER)
    status = getattr(error, "status_code", None)
    if status in _REFUSED_CHAT:
        return AnswerRejected(f"{model} refused the request: {line}", _refusal(error))
    broken = isinstance(error, openai.APIConnectionError) or event == "broke off"
    if late or broken or status in _FAILED_SERVER:
        return AnswerRejected(f"{model} {event}: {line}", NO_ANSWER)
    return GenerationError(f"{model} {event}: {line}")


def _refusal(error: Exception) -> str:
    import litellm

    if isinstance(error, litellm.exceptions.ContextWindowExceededError) or _TOO_LONG.search(str(error)):
        return TOO_LONG
    if isinstance(error, litellm.exceptions.ContentPolicyViolationError) or _FILTERED.search(str(error)):
        return FILTERED
    return BAD_REQUEST


def _unreachable(error: BaseException) -> bool:
    """Return whether no server answered at all: each provider's package reports that in an error of its own."""
    import httpx

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, httpx.ConnectError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _without_secrets(url: str) -> str:
    """Return an address without user, password and query: any of them may be a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
