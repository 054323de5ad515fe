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
    import openai

PREFIX = "openai/"
SILENCE = 600.0
"""Seconds after which a silent server is asked again, as LiteLLM does."""


class OwnServerProvider(LiteLlmProvider):
    """Answers by one POST; streams go through LiteLLM."""

    _client: openai.OpenAI | None = None
    _opening = threading.Lock()

    def _send(self, messages: Messages, *, max_tokens: int, **settings: Any) -> Any:  # noqa: ANN401 - JSON of a server
        if settings.get("stream"):
            return super()._send(messages, max_tokens=max_tokens, **settings)
        import httpx
        import litellm

        extra = settings.pop("extra_body", None) or {}
        body = {
            "model": self.model.removeprefix(PREFIX),
            "messages": [dict(message) for message in messages],
            "max_tokens": max_tokens + self.headroom,
            **settings,
            **extra,
        }
        response = self._opened().post("/chat/completions", cast_to=httpx.Response, body=body)
        try:
            answer = response.json()
            return answer if isinstance(answer, dict) else {}
        except ValueError as error:
            raise litellm.exceptions.InternalServerError(
                f"the answer is not JSON ({error})", llm_provider="openai", model=self.model
            ) from error

    def _opened(self) -> openai.OpenAI:
        import openai

        with self._opening:
            if self._client is None:
                self._client = openai.OpenAI(
                    base_url=self.api_base,
                    api_key=self.api_key or os.environ.get("OPENAI_API_KEY") or "none",
                    timeout=self.patience or SILENCE,
                    max_retries=0,
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
