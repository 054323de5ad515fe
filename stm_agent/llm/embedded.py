"""The embedded decoder as a generator: llama.cpp on loopback, reached through LiteLLM like any other."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from stm_agent.errors import GenerationError
from stm_agent.llm.answer import Answer, Messages
from stm_agent.llm.facts import EMBEDDED_CONTEXT

if TYPE_CHECKING:
    from stm_agent.llm.litellm import LiteLlmProvider

ALONE = {"cache_prompt": False}
"""A prompt that continues a cached one is rounded differently, and would give another text after a restart."""


class EmbeddedProvider:
    """Starts a llama.cpp server on a free loopback port at the first call; costs nothing."""

    def __init__(self, model: str, *, patience: float | None = None) -> None:
        """Take an ``embedded:`` name; the model is given up if it stays silent for ``patience`` seconds.

        Raises:
            ConfigError: There is no such asset.
        """
        from stm_agent.assets.pull import find_asset

        self.asset = find_asset(model.removeprefix("embedded:"))
        self.patience = patience
        self._server: object | None = None
        self._inner: LiteLlmProvider | None = None
        self._lock = threading.Lock()

    def answer(self, messages: Messages, *, temperature: float, max_tokens: int, seed: int) -> Answer:
        """Answer a chat; the same seed gives the same text.

        Raises:
            GenerationError: The server does not answer.
        """
        answer = self._running().answer(messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        return replace(answer, usd=0.0)

    def stream(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int
    ) -> Generator[str, None, Answer]:
        """Answer a chat piece by piece.

        Raises:
            GenerationError: The server does not answer, or dies on the way.
        """
        inner = self._running()
        answer = yield from inner.stream(messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        return replace(answer, usd=0.0)

    def _running(self) -> LiteLlmProvider:
        with self._lock:
            if self._inner is None:
                self._inner = self._start()
            return self._inner

    def _start(self) -> LiteLlmProvider:
        import xllamacpp

        from stm_agent.backbone.embedded import gguf_path
        from stm_agent.backbone.threads import choose_threads
        from stm_agent.llm.litellm import LiteLlmProvider

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(gguf_path(self.asset.name))
        parameters.n_ctx = EMBEDDED_CONTEXT
        parameters.n_parallel = 1
        parameters.verbosity = -1
        parameters.cpuparams.n_threads = choose_threads()[0]
        try:
            self._server = server = xllamacpp.Server(parameters)
        except (RuntimeError, ValueError) as error:
            raise GenerationError(f"cannot start {self.asset.name}: {error}; pull the asset again") from error
        address = f"{server.listening_address}/v1"
        return LiteLlmProvider(f"openai/{self.asset.name}", address, "none", extra_body=ALONE, patience=self.patience)

    def close(self) -> None:
        """Stop the server."""
        self._server = self._inner = None
