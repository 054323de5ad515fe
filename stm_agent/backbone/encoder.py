"""A sentence-transformers model as the engine's :class:`~stm_agent.evaluate.encoder.Encoder`."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.batches import Room, room_of
from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.backbone.precision import products
from stm_agent.domain.backbone_spec import VectorFormat
from stm_agent.errors import OutOfMemory
from stm_agent.files import content_hash
from stm_agent.progress import safe_point

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.lean import LeanModel

logger = logging.getLogger(__name__)
LETTERS = 4
"""Letters of a token, roughly."""
TOKENISED = 2000
"""Texts that are tokenised at once to see which are cut."""


class TextEncoder:
    """Vectors of texts, with an identity made of everything that decides them.

    Attributes:
        model: The model, in eval mode.
        mixed: Whether matrix products are computed in bfloat16.
        halved: Whether memory ran out, so that batches are smaller since.
        vector_format: How vectors of a corpus are stored.
    """

    def __init__(
        self,
        model: SentenceTransformer | LeanModel,
        identity: str | None = None,
        *,
        mixed: bool = False,
        vector_format: VectorFormat = "auto",
    ) -> None:
        """Put a model into eval mode; its identity is computed from its weights, if asked for, unless it is given."""
        self.model: SentenceTransformer | LeanModel = model.eval()
        self.mixed = mixed
        self.halved = False
        self._room: Room | None = None
        self.vector_format = vector_format
        self._identity = identity

    @cached_property
    def model_identity(self) -> str:
        """Hash of the model, whatever the products are computed in; a server's first answer does not wait for it."""
        return self._identity or model_identity(self.model)

    @property
    def identity(self) -> str:
        """Hash of weights, pooling, max length, dtype, attention and tokenizer."""
        own = self.model_identity
        return content_hash({"model": own, "products": "bfloat16"}) if self.mixed else own

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.model.get_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        """Encode texts, longest first, in batches of about as many tokens each.

        Every batch is a safe point. Each time memory runs out, batches become half as large for good, and a warning
        says so.

        Args:
            texts: What to encode.
            prefix: Text in front of each.

        Returns:
            ``[texts, dimension]`` float32, L2-normalised, in the order given.

        Raises:
            OutOfMemory: Memory runs out with a single text.
            StopRequested: A stop was asked for.
        """
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        started = time.monotonic()
        whole = [prefix + text for text in texts]
        order = sorted(range(len(whole)), key=lambda number: -len(whole[number]))
        vectors = np.empty((len(whole), self.dimension), dtype=np.float32)
        begin = 0
        while begin < len(order):
            safe_point()
            batch = order[begin : begin + self._fitting(len(whole[order[begin]]))]
            try:
                vectors[batch] = self._encode_batch([whole[number] for number in batch])
            except OutOfMemory as error:
                if len(batch) == 1:
                    raise
                self._halve(len(batch))
                logger.warning("%s; batches are half as large from text %d of %d on", error, begin + 1, len(order))
            else:
                begin += len(batch)
        logger.debug("%d texts, %.0f texts/s", len(texts), len(texts) / max(time.monotonic() - started, 1e-9))
        return vectors

    def _encode_batch(self, texts: list[str]) -> NDArray[np.float32]:
        fix = "lower the backbone's max_length or free some memory"
        with memory_errors(f"encoding {len(texts)} texts", fix=fix), products(self.model.device.type, mixed=self.mixed):
            encoded = self.model.encode(
                texts,
                prompt="",
                batch_size=len(texts),
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return np.asarray(encoded, dtype=np.float32)

    def mapped(self, folder: Path) -> TextEncoder:
        """Return an encoder of the same network whose vectors are mapped; see :mod:`stm_agent.backbone.query_map`."""
        from stm_agent.backbone.query_map import with_map

        model = with_map(cast("SentenceTransformer", self.model), folder)
        return TextEncoder(model, mixed=self.mixed, vector_format=self.vector_format)

    def room(self, prefix: str) -> int | None:
        """Return the tokens the window has left after ``prefix`` and special tokens; None if it is unlimited."""
        if not self.model.max_seq_length:
            return None
        return int(self.model.max_seq_length) - len(self.model.tokenizer(prefix, truncation=False)["input_ids"])

    def whole(self, texts: Sequence[str], *, prefix: str = "") -> list[str]:
        """Return the texts of which the window cuts nothing off, with ``prefix`` and special tokens, in their order."""
        longest, texts = self.model.max_seq_length, list(texts)
        if not longest or not texts:
            return texts
        read: list[str] = []
        for begin in range(0, len(texts), TOKENISED):
            part = texts[begin : begin + TOKENISED]
            rows = self.model.tokenizer([prefix + text for text in part], truncation=False)["input_ids"]
            read += [text for text, row in zip(part, rows, strict=True) if len(row) <= longest]
        return read

    def _fitting(self, letters: int) -> int:
        """Return the batch size for texts of this many letters."""
        tokens = letters // LETTERS + 1
        if self.model.max_seq_length:
            tokens = min(tokens, self.model.max_seq_length)
        if self._room is None:
            # Measured when the first texts come: what else is loaded by then takes its part.
            self._room = room_of(self.model)
        return self._room.texts_of(tokens)

    def _halve(self, texts: int) -> None:
        """Make batches half as large as the one that failed was, or smaller."""
        self.halved = True
        room = (self._room or room_of(self.model)).halved()
        self._room = Room(min(room.texts, max(1, texts // 2)), room.tokens)


class TwoSidedEncoder(TextEncoder):
    """An encoder of passages, and another one for queries."""

    def __init__(self, documents: TextEncoder, queries: TextEncoder) -> None:
        """Encode as ``documents`` does; its cached vectors stay valid. ``queries`` encodes queries."""
        super().__init__(
            documents.model, documents._identity, mixed=documents.mixed, vector_format=documents.vector_format
        )
        self.query_encoder = queries


def model_identity(model: SentenceTransformer | LeanModel) -> str:
    """Return the hash of everything in a model that decides a vector."""
    import torch

    from stm_agent.backbone.network import network_of

    if identity := getattr(model[0], "identity", None):
        return str(identity)
    network = network_of(model)
    digest = hashlib.sha256()
    for part in (network, *list(model)[1:]):
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    backend = model.tokenizer.backend_tokenizer
    # These two are set by every call, so what the last call left must not count.
    backend.no_truncation()
    backend.no_padding()
    tokenizer = backend.to_str()
    return content_hash(
        {
            "weights": digest.hexdigest(),
            "modules": _modules(model),
            "max_length": model.max_seq_length,
            "dtype": str(network.dtype),
            "causal": getattr(network.config, "is_causal", None),
            "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(),
        }
    )


def _modules(model: SentenceTransformer | LeanModel) -> list[str]:
    """Return every module after the decoder with its options: pooling, normalisation, dense layers."""
    rest = list(model)[1:]
    return [f"{type(module).__name__} {getattr(module, 'get_config_dict', dict)()}" for module in rest]
