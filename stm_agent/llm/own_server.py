"""A server that speaks OpenAI's protocol, asked without LiteLLM's work around each call.

LiteLLM looks up prices, translates parameters and logs, which takes more time of one core than 64 calls at a time
leave; a model that it does not know at a server of one's own needs none of it.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

from stm_agent.llm.answer import Answer, Messages
from stm_agent.llm.litellm import LiteLlmProvider, Sampling
from stm_agent.llm.tokens import chat_tokens, rough_tokens

if TYPE_CHECKING:
    import httpx

PREFIX = "openai/"
SILENCE = 600.0
"""Seconds after which a silent server is asked again, as LiteLLM does."""


class OwnServerProvider(LiteLlmProvider):
    """Answers by one POST, and raises the errors of OpenAI's package; streams go through LiteLLM."""

    @cached_property
    def _clients(self) -> _Clients:
        return _Clients(str(self.api_base), self.api_key, self.patience or SILENCE)

    def _send(self, messages: Messages, *, max_tokens: int, **settings: Unpack[Sampling]) -> object:
        if settings.get("stream"):
            return super()._send(messages, max_tokens=max_tokens, **settings)
        import httpx
        import openai

        extra = settings.pop("extra_body", None) or {}
        body = {
            "model": self.model.removeprefix(PREFIX),
            "messages": [dict(message) for message in messages],
            "max_tokens": max_tokens + self.headroom,
            **settings,
            **extra,
        }
        try:
            with self._clients.lent() as client:
                response = client.post("chat/completions", json=body)
        except httpx.TimeoutException as error:
            raise openai.APITimeoutError(request=error.request) from error
        except httpx.RequestError as error:
            raise openai.APIConnectionError(message=str(error) or repr(error), request=error.request) from error
        if response.is_error:
            raise _status_error(response)
        try:
            answer = response.json()
            return answer if isinstance(answer, dict) else {}
        except ValueError as error:
            message = f"the answer is not JSON: {error}"
            raise openai.APIConnectionError(message=message, request=response.request) from error

    def _read(self, response: object, messages: Messages, tries: int) -> Answer:
        if not isinstance(response, dict):
            return super()._read(response, messages, tries)
        choices = response.get("choices") or [{}]
        message, usage = choices[0].get("message") or {}, response.get("usage") or {}
        text, reason = message.get("content") or "", choices[0].get("finish_reason")
        return Answer(
            text=text,
            prompt_tokens=usage.get("prompt_tokens") or chat_tokens(messages),
            completion_tokens=usage.get("completion_tokens") or (rough_tokens(text) if text else 0),
            usd=None,
            finish_reason="refusal" if not text and message.get("refusal") else reason,
            reasoning=message.get("reasoning_content"),
            tries=tries,
        )

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()


class _Clients:
    """HTTP clients, each of which one call uses at a time.

    The calls of one client all wait for the lock of its connections, which it holds while it looks at each of them:
    with 64 calls at a time that took half of the time beyond the server's. There are as many clients as there were
    calls at a time.
    """

    def __init__(self, address: str, key: str | None, patience: float) -> None:
        self._address, self._patience = address, patience
        self._key = key or os.environ.get("OPENAI_API_KEY") or "none"
        self._idle: list[httpx.Client] = []
        self._lock = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[httpx.Client]:
        """Lend a client that no other call uses; its connection stays open for the next call."""
        with self._lock:
            client = self._idle.pop() if self._idle else None
        client = client or self._new()
        try:
            yield client
        finally:
            with self._lock:
                self._idle.append(client)

    def close(self) -> None:
        """Close all clients; later calls open new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        import httpx

        # To read the certificates takes longer than a call.
        return httpx.create_ssl_context()

    def _new(self) -> httpx.Client:
        import httpx

        headers = {"authorization": f"Bearer {self._key}"}
        return httpx.Client(base_url=self._address, headers=headers, timeout=self._patience, verify=self._tls)


def _status_error(response: httpx.Response) -> Exception:
    import openai

    kinds: dict[int, type[openai.APIStatusError]] = {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        422: openai.UnprocessableEntityError,
        429: openai.RateLimitError,
    }
    status, body = response.status_code, response.text
    kind = openai.InternalServerError if status >= 500 else kinds.get(status, openai.APIStatusError)
    return kind(f"Error code: {status} - {body[:1000]}", response=response, body=body)
