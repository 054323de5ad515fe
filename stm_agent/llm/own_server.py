"""A server that speaks OpenAI's protocol, asked without LiteLLM's work around each call.

LiteLLM looks up prices, translates parameters and logs, which takes more time of one core than 64 calls at a time
leave; a model that it does not know at a server of one's own needs none of it.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from stm_agent.llm.answer import Answer, Messages
from stm_agent.llm.litellm import LiteLlmProvider
from stm_agent.llm.tokens import chat_tokens, rough_tokens

if TYPE_CHECKING:
    import httpx

PREFIX = "openai/"
SILENCE = 600.0
"""Seconds after which a silent server is asked again, as LiteLLM does."""


class OwnServerProvider(LiteLlmProvider):
    """Answers by one POST, and raises the errors of OpenAI's package; streams go through LiteLLM."""

    _client: httpx.Client | None = None
    _opening = threading.Lock()

    def _send(self, messages: Messages, *, max_tokens: int, **settings: Any) -> Any:  # noqa: ANN401 - JSON of a server
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
            response = self._opened().post("chat/completions", json=body)
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

    def _opened(self) -> httpx.Client:
        import httpx

        with self._opening:
            if self._client is None:
                key = self.api_key or os.environ.get("OPENAI_API_KEY") or "none"
                self._client = httpx.Client(
                    base_url=str(self.api_base),
                    headers={"authorization": f"Bearer {key}"},
                    timeout=self.patience or SILENCE,
                    # The width of the work bounds the connections.
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
                )
            return self._client

    def _read(self, response: Any, messages: Messages, tries: int) -> Answer:  # noqa: ANN401 - JSON of a server
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
        with self._opening:
            if self._client is not None:
                self._client.close()
                self._client = None


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
