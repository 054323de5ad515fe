"""Encode a corpus: in memory in float32 if it is small, in shards on disk if it is large or its model asks for that."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.backbone_spec import VectorFormat
from stm_agent.evaluate.cache import PART, EmbeddingCache
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.shards import (
    BYTES,
    SHARD,
    BrokenShard,
    NumberFormat,
    Shard,
    ShardedVectors,
    read_shard,
    shard_path,
    write_shard,
)
from stm_agent.evaluate.vectors import ArrayVectors, CorpusVectors
from stm_agent.progress import report

logger = logging.getLogger(__name__)
LARGE = 2**30
"""Bytes of a corpus's vectors in float32 above which they are stored in shards: 699,050 passages of 384 numbers."""
LARGE_FORMAT: NumberFormat = "float16"
"""Number format of a large corpus whose model asks for none."""
OFF = {"float32": "exact", "float16": "a cosine is off by 0.0003 at most", "int8": "a cosine is off by 0.013 at most"}
"""What rounding cost a million vectors of 384 numbers (``benchmarks/scale.py``)."""


@runtime_checkable
class ChoosesFormat(Protocol):
    """An encoder whose user said how vectors of a corpus are stored."""

    @property
    def vector_format(self) -> VectorFormat:
        """The number format; ``auto``: by the size of the corpus."""
        ...


def stored_as(documents: int, dimension: int, asked: VectorFormat = "auto") -> NumberFormat | None:
    """Return the number format of a corpus's shards; None: it is held in memory, in float32.

    The size alone decides, not the machine: a run that moves to another machine gives the same scores there.
    """
    large = documents * dimension * BYTES["float32"] > LARGE
    if asked == "auto":
        return LARGE_FORMAT if large else None
    return asked if large or asked != "float32" else None


def storage_line(documents: int, dimension: int, asked: VectorFormat = "auto") -> str:
    """Return one line on how vectors are stored, for people; empty if they are held in memory."""
    number_format = stored_as(documents, dimension, asked)
    if number_format is None:
        return ""
    size = documents * dimension * BYTES[number_format] / 2**30
    why = "" if asked != "auto" else "; backbone: vectors: float32 in the domain file keeps every digit"
    return (
        f"vectors in {number_format}: {_count(documents)} passages, {size:.2f} GiB in shards on disk; "
        f"{OFF[number_format]}{why}"
    )


def encode_corpus(
    cache: EmbeddingCache | None, encoder: Encoder, texts: Sequence[str], *, prefix: str = ""
) -> CorpusVectors:
    """Return the vectors of a corpus, encoded unless they are stored.

    Args:
        cache: Folder of vectors; None: everything is encoded now and held in memory.
        encoder: The encoder of passages.
        texts: The corpus.
        prefix: Text in front of each.

    Raises:
        StopRequested: A stop was asked for; the shards that are finished stay.
        StorageError: The disk is full.
    """
    if cache is None:
        return ArrayVectors(encoder.encode(texts, prefix=prefix))
    asked: VectorFormat = encoder.vector_format if isinstance(encoder, ChoosesFormat) else "auto"
    number_format = stored_as(len(texts), encoder.dimension, asked)
    if number_format is None or not texts:
        return ArrayVectors(cache.encode(encoder, texts, prefix=prefix))
    _tell(storage_line(len(texts), encoder.dimension, asked))
    vectors = _in_shards(cache, encoder, texts, prefix, number_format)
    _tell(f"vectors in {number_format}: rounding changes a cosine by {vectors.off:.2g} at most")
    return vectors


def _in_shards(
    cache: EmbeddingCache, encoder: Encoder, texts: Sequence[str], prefix: str, number_format: NumberFormat
) -> ShardedVectors:
    folder = cache.folder_of(encoder, prefix)
    large = stored_as(len(texts), encoder.dimension) is not None
    shards = []
    for begin in range(0, len(texts), SHARD):
        part = texts[begin : begin + SHARD]
        path, shape = shard_path(folder, part, number_format), (len(part), encoder.dimension)
        shard = _stored(cache, path, number_format, shape)
        if shard is None:
            if large:
                vectors = _encode(cache, encoder, part, prefix, done=begin, total=len(texts))
            else:
                # Parts of the corpus are searched too, and no text is encoded twice.
                vectors = cache.encode(encoder, part, prefix=prefix)
            write_shard(path, vectors, number_format)
            shard = read_shard(path, number_format, shape)
        else:
            cache.hits += len(part)
        shards.append(shard)
        report("encode", "texts", begin + len(part), len(texts))
    return ShardedVectors(tuple(shards))


def _stored(cache: EmbeddingCache, path: Path, number_format: NumberFormat, shape: tuple[int, int]) -> Shard | None:
    """Return a shard that is there and whole; remove a damaged one with a warning."""
    if not path.is_file():
        return None
    try:
        return read_shard(path, number_format, shape)
    except BrokenShard as error:
        cache.broken += 1
        logger.warning("shard %s of vectors cannot be used (%s); its texts are encoded again", path.name, error)
        path.unlink(missing_ok=True)
        return None


def _encode(
    cache: EmbeddingCache, encoder: Encoder, texts: Sequence[str], prefix: str, *, done: int, total: int
) -> NDArray[np.float32]:
    """Encode the texts of one shard, each distinct text once, longest first in parts between which it may stop."""
    distinct = sorted(dict.fromkeys(texts), key=lambda text: -len(text))
    places = {text: number for number, text in enumerate(distinct)}
    vectors = np.empty((len(distinct), encoder.dimension), dtype=np.float32)
    for begin in range(0, len(distinct), PART):
        started = time.monotonic()
        vectors[begin : begin + PART] = encoder.encode(distinct[begin : begin + PART], prefix=prefix)
        cache.seconds += time.monotonic() - started
        if begin + PART < len(distinct):
            report("encode", "texts", done + begin + PART, total)
    cache.misses += len(distinct)
    cache.hits += len(texts) - len(distinct)
    whole: NDArray[np.float32] = vectors[[places[text] for text in texts]]
    return whole


@functools.cache
def _tell(line: str) -> None:
    """Warn once a process: each lever of a run reads the same corpus."""
    logger.warning("%s", line)


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,}"
