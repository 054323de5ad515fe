"""A decoder of this machine as a generator: llama.cpp on loopback, reached like any server of one's own.

The text of a request depends on the request alone, whatever its neighbours in the batch are and whatever the slot has
read before. Floating-point sums depend on their order, so that holds only for settings under which each token's numbers
are computed in one order: flash attention row by row (its tiled kernel begins at 64 rows), one key-value stream for a
slot, and, unless a model's matrices are known to be multiplied alike for any number of rows, one token at a time.
``benchmarks/llm.py`` measures it.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.assets.decoder import SCHEME, check_decoder, decoder_file
from stm_agent.errors import GenerationError
from stm_agent.llm.answer import Answer, Messages
from stm_agent.llm.facts import EMBEDDED_CONTEXT
from stm_agent.llm.slots import Slots

if TYPE_CHECKING:
    from stm_agent.llm.litellm import LiteLlmProvider

ROWS = {"embedded:smollm2-135m": 32}
"""Tokens computed together, at most, by model; 1 for all others. The kernels of llama.cpp for 4-bit matrices with
offsets (Q4_1) give bit-equal numbers for any number of rows on x86-64; those for Q4_K and Q5_0 do not. 32 stays below
the 64 rows from which attention sums in another order."""


class EmbeddedProvider:
    """Starts a llama.cpp server on a free loopback port at the first call; costs nothing."""

    def __init__(self, model: str, *, slots: int = 1, patience: float | None = None) -> None:
        """Take an ``embedded:`` name or the path of a GGUF file.

        Args:
            model: The name.
            slots: Texts written at a time, at most. A model that computes one token at a time writes one of them: more
                slots would read what prompts begin with once for each, and gain nothing.
            patience: Seconds after which a silent server is given up; None: LiteLLM's, with retries.

        Raises:
            ConfigError: The asset or file does not exist, or is optional and not installed.
        """
        check_decoder(model)
        self.model, self.patience = model, patience
        self._rows = ROWS.get(model, 1) if platform.machine().lower() in ("x86_64", "amd64") else 1
        self.slots = slots if self._rows > 1 else 1
        self._server: object | None = None
        self._inner: LiteLlmProvider | None = None
        self._queue = Slots(self.slots)
        self._lock = threading.Lock()

    def answer(self, messages: Messages, *, temperature: float, max_tokens: int, seed: int) -> Answer:
        """Answer a chat; the same seed gives the same text.

        Raises:
            GenerationError: The server does not answer.
        """
        inner = self._running()
        with self._queue.take(messages) as slot:
            answer = inner.answer(
                messages, temperature=temperature, max_tokens=max_tokens, seed=seed, extra_body={"id_slot": slot}
            )
        return replace(answer, usd=0.0)

    def stream(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int
    ) -> Generator[str, None, Answer]:
        """Answer a chat piece by piece.

        Raises:
            GenerationError: The server does not answer, or dies on the way.
        """
        inner = self._running()
        with self._queue.take(messages) as slot:
            answer = yield from inner.stream(
                messages, temperature=temperature, max_tokens=max_tokens, seed=seed, extra_body={"id_slot": slot}
            )
        return replace(answer, usd=0.0)

    def _running(self) -> LiteLlmProvider:
        with self._lock:
            if self._inner is None:
                self._inner = self._start()
            return self._inner

    def _start(self) -> LiteLlmProvider:
        import xllamacpp

        from stm_agent.llm.own_server import OwnServerProvider

        name = self.model.removeprefix(SCHEME) if self.model.startswith(SCHEME) else Path(self.model).stem
        try:
            self._server = server = xllamacpp.Server(self._parameters())
        except (RuntimeError, ValueError) as error:
            raise GenerationError(f"cannot start {name}: {error}; get the model again") from error
        return OwnServerProvider(f"openai/{name}", f"{server.listening_address}/v1", "none", patience=self.patience)

    def _parameters(self) -> Any:  # noqa: ANN401 - xllamacpp ships no types
        import xllamacpp

        from stm_agent.backbone.threads import choose_threads

        threads = choose_threads()[0]
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(decoder_file(self.model))
        parameters.n_ctx = EMBEDDED_CONTEXT * self.slots
        parameters.n_parallel = self.slots
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        parameters.n_ubatch = self._rows
        parameters.kv_unified = False
        # Prompts that no slot holds any more would be kept in up to 8 GB of memory.
        parameters.cache_ram_mib = 0
        parameters.cache_idle_slots = False
        parameters.verbosity = -1
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
        return parameters

    def close(self) -> None:
        """Stop the server."""
        with self._lock:
            if self._inner is not None:
                self._inner.close()
            self._server = self._inner = None
