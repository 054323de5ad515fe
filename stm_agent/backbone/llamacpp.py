"""A GGUF export, run by llama.cpp over its server on loopback: text in, vector out, as with all that is built on it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stm_agent.backbone.lean import LeanModel, LeanSession
from stm_agent.backbone.runtime import Shell
from stm_agent.errors import BackboneError, ConfigError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

SLOTS = 8
"""Texts that are encoded at once."""
CELLS = 16_384
"""Tokens of all these texts together; a model with a long window gets fewer slots."""
LONGEST = 8192
"""Tokens of a text that are read, if the model's window is larger: attention without a window needs their square."""


PATIENCE = 600.0
"""Seconds for a batch. The library's own call for this has no limit, and hangs now and then on a busy machine."""


class LlamaCppModel(LeanModel):
    """A model whose every step, tokenizer and pooling included, is llama.cpp's."""

    def __init__(
        self,
        path: Path,
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
        prompts: Mapping[str, str],
        identity: str,
    ) -> None:
        """Start llama.cpp with a file.

        Args:
            path: The GGUF file.
            tokenizer: The original tokenizer, which counts tokens and cuts texts that are too long.
            config: The network's config.
            prompts: The checkpoint's prompts.
            identity: Hash of the files that decide the vectors.

        Raises:
            ConfigError: llama.cpp's library is not installed.
            BackboneError: It cannot read the file.
        """
        tokenizer.model_max_length = min(tokenizer.model_max_length, LONGEST)
        shell = LeanSession(Shell(config), tokenizer, _no_tokens, identity)
        super().__init__([shell], prompts, int(config.hidden_size))
        self._server = _started(path, tokenizer.model_max_length)
        # A server that is closed before its loop has begun never ends. The first answer shows that it has.
        self.encode(["begin"])

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        normalize_embeddings: bool = True,
        batch_size: int | None = None,
        convert_to_numpy: bool = True,
        show_progress_bar: bool = False,
    ) -> NDArray[np.float32]:
        """Return ``[texts, dimension]`` float32, L2-normalised."""
        asked = {"input": [self._input(prompt + text) for text in texts], "encoding_format": "base64"}
        try:
            answer = httpx.post(f"{self._server.listening_address}/v1/embeddings", json=asked, timeout=PATIENCE)
        except httpx.TransportError as error:
            raise BackboneError(f"llama.cpp did not answer: {first_line(error)}; export the model again") from error
        rows = answer.json().get("data")
        if rows is None:
            raise BackboneError(f"llama.cpp did not encode a text: {answer.text}")
        ordered = sorted(rows, key=lambda row: int(row["index"]))
        return np.stack([np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4") for row in ordered])

    def _input(self, text: str) -> str | list[int]:
        """Return a text as it is; of one longer than the window, which llama.cpp refuses, the tokens that fit."""
        ids: list[int] = self.tokenizer(text, truncation="longest_first")["input_ids"]
        return ids if len(ids) >= self.tokenizer.model_max_length else text


def _no_tokens(_ids: Tensor, _mask: Tensor) -> Tensor:
    raise BackboneError("llama.cpp returns the vectors of texts, not of tokens")


def _started(path: Path, window: int) -> Any:  # noqa: ANN401 - xllamacpp ships no types
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigError(f"{path} needs llama.cpp: python -m pip install xllamacpp") from error
    slots = max(1, min(SLOTS, CELLS // window))
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.embedding = True
    parameters.embd_normalize = 2
    parameters.n_parallel = slots
    # Attention in both directions needs all texts of a step at once.
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = window * slots
    # Otherwise a step has as many tokens of each text, and the mean is over the last step alone.
    parameters.kv_unified = True
    # What a text shares with the last one must be computed again: the mean is over the tokens of this step.
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.cache_idle_slots = False
    parameters.verbosity = -1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = torch.get_num_threads()
    try:
        return xllamacpp.Server(parameters)
    except (RuntimeError, ValueError) as error:
        raise BackboneError(f"llama.cpp cannot read {path}: {error}; export it again") from error
