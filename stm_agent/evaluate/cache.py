"""Stored vectors, keyed by everything that decides them.

Each (encoder identity, prefix) has a folder with append-only shards of vectors and the hashes of their texts. A trial
of an instruction encodes only the queries again. A shard that cannot be read is counted, removed and encoded again.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stm_agent.evaluate.encoder import Encoder, EncodesQueriesApart
from stm_agent.files import content_hash, write_atomic
from stm_agent.progress import report

logger = logging.getLogger(__name__)
Vectors = NDArray[np.float32]
PART = 512
"""Texts encoded between two reports of progress."""
PARTS_OF_A_SHARD = 16
"""Parts stored together: what a kill costs at most; a stop costs a part."""


def encode_through(cache: EmbeddingCache | None, encoder: Encoder) -> Callable[..., Vectors]:
    """Return ``encode(texts, prefix=...)`` of an encoder, through a cache if one is given."""
    return partial(cache.encode, encoder) if cache else encoder.encode


def encode_queries(
    cache: EmbeddingCache | None, encoder: Encoder, texts: Sequence[str], *, prefix: str = ""
) -> Vectors:
    """Return the vectors ``[texts, dimension]`` float32 that queries are searched with."""
    apart = encoder.query_encoder if isinstance(encoder, EncodesQueriesApart) else encoder
    vectors: Vectors = encode_through(cache, apart)(texts, prefix=prefix)
    return vectors


class EmbeddingCache:
    """Encodes texts, and stores their vectors in a folder.

    Attributes:
        hits: Texts answered from the cache.
        misses: Texts that were encoded.
        broken: Shards that could not be read.
        seconds: Time spent encoding the misses.
    """

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is created with the first vectors."""
        self.folder = folder
        self.hits = self.misses = self.broken = 0
        self.seconds = 0.0
        self._open: dict[str, dict[bytes, Vectors]] = {}
        self._opening = threading.Lock()

    def folder_of(self, encoder: Encoder, prefix: str) -> Path:
        """Return the folder of the vectors of one encoder and prefix."""
        return self.folder / _key(encoder, prefix)

    def missing(self, encoder: Encoder, texts: Sequence[str], *, prefix: str = "") -> list[str]:
        """Return the distinct texts that have no stored vector."""
        stored = self._stored(_key(encoder, prefix))
        return list(
            {name: text for name, text in zip(_names(texts), texts, strict=True) if name not in stored}.values()
        )

    def encode(self, encoder: Encoder, texts: Sequence[str], *, prefix: str = "") -> Vectors:
        """Return ``[texts, dimension]`` float32; a stored vector is returned bit for bit."""
        if not texts:
            return np.empty((0, encoder.dimension), dtype=np.float32)
        key = _key(encoder, prefix)
        stored = self._stored(key)
        names = _names(texts)
        fresh = {name: text for name, text in zip(names, texts, strict=True) if name not in stored}
        if fresh:
            self._encode_fresh(encoder, key, fresh, prefix)
        self.misses += len(fresh)
        self.hits += len(texts) - len(fresh)
        return np.stack([stored[name] for name in names])

    def share(self, source: Encoder, target: Encoder, texts: Sequence[str], *, prefix: str = "") -> None:
        """Give stored vectors of one encoder to another one, which must compute the same of these texts.

        Texts without a stored vector are left out.
        """
        stored, key = self._stored(_key(source, prefix)), _key(target, prefix)
        there = self._stored(key)
        names = [name for name in dict.fromkeys(_names(texts)) if name in stored and name not in there]
        if names:
            self._store(key, [(names, np.stack([stored[name] for name in names]))])

    def _encode_fresh(self, encoder: Encoder, key: str, fresh: Mapping[bytes, str], prefix: str) -> None:
        """Encode texts in parts; what is finished is stored even if the rest is stopped or fails."""
        # Longest first over all parts, as the encoder orders its batches.
        order = sorted(fresh, key=lambda name: -len(fresh[name]))
        waiting: list[tuple[list[bytes], Vectors]] = []
        try:
            for begin in range(0, len(order), PART):
                names = order[begin : begin + PART]
                started = time.monotonic()
                vectors = encoder.encode([fresh[name] for name in names], prefix=prefix)
                self.seconds += time.monotonic() - started
                waiting.append((names, vectors))
                if len(waiting) == PARTS_OF_A_SHARD:
                    self._store(key, waiting)
                    waiting = []
                if begin + PART < len(order):
                    report("encode", "texts", begin + PART, len(order))
        finally:
            if waiting:
                self._store(key, waiting)

    @property
    def texts_per_second(self) -> float:
        """Speed of the misses so far; 0.0 before the first."""
        return self.misses / self.seconds if self.seconds else 0.0

    def _stored(self, key: str) -> dict[bytes, Vectors]:
        # Two threads must share one dictionary, so the second waits for what the first has read.
        with self._opening:
            if key not in self._open:
                vectors: dict[bytes, Vectors] = {}
                for shard in sorted((self.folder / key).glob("*.npz")):
                    vectors.update(self._read(shard))
                self._open[key] = vectors
            return self._open[key]

    def _read(self, shard: Path) -> dict[bytes, Vectors]:
        try:
            with np.load(io.BytesIO(shard.read_bytes()), allow_pickle=False) as arrays:
                names, vectors = arrays["names"], arrays["vectors"]
            if len(names) != len(vectors) or not np.isfinite(vectors).all():
                raise ValueError("its vectors are incomplete or not finite")
            return {name.tobytes(): vector for name, vector in zip(names, vectors, strict=True)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            self.broken += 1
            logger.warning("embedding shard %s cannot be read (%s); its texts are encoded again", shard.name, error)
            shard.unlink(missing_ok=True)
            return {}

    def _store(self, key: str, parts: Sequence[tuple[list[bytes], Vectors]]) -> None:
        names = [name for part, _ in parts for name in part]
        vectors = np.concatenate([part for _, part in parts])
        buffer = io.BytesIO()
        packed = np.frombuffer(b"".join(names), dtype=np.uint8).reshape(len(names), -1)
        np.savez(buffer, names=packed, vectors=vectors)
        shard = content_hash([name.hex() for name in names])[:16]
        write_atomic(self.folder / key / f"{shard}.npz", buffer.getvalue())
        self._stored(key).update(zip(names, vectors, strict=True))


def _key(encoder: Encoder, prefix: str) -> str:
    return content_hash([encoder.identity, prefix])[:32]


def _names(texts: Sequence[str]) -> list[bytes]:
    return [hashlib.sha256(text.encode()).digest() for text in texts]
