"""Vectors of a large corpus on disk: one file for a few thousand documents, written whole and mapped into memory.

A shard is a safetensors file named by the hash of its texts, so it is found again by whatever corpus has these texts in
this order, and a corpus whose encoding was killed resumes at the first shard that is missing. Its metadata has the
checksum of its numbers, which is verified once in each process that opens it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stm_agent.errors import ConfigError, StorageError
from stm_agent.evaluate.vectors import rows_of_a_block
from stm_agent.files import content_hash, sha256_text, write_atomic

NumberFormat = Literal["float32", "float16", "int8"]
"""How the numbers of stored vectors are written; ``int8`` has one scale for each vector."""
BYTES = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes of a number in each format."""
SHARD = 8192
"""Documents of a shard: what a kill costs at most."""
LONGEST_HEADER = 2**16
"""Bytes of a header above which a file is none of ours."""
CHECKSUM, OFF = "crc32", "off"
VECTORS, SCALES = "vectors", "scales"
NAMES = {"float32": "F32", "float16": "F16", "int8": "I8"}
"""The formats as safetensors names them."""


class BrokenShard(Exception):
    """Raised when a shard cannot be used; carries the reason. Its texts are encoded again."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of vectors.

    Attributes:
        path: The file.
        number_format: How numbers are written.
        shape: Documents, and length of a vector.
        begin: Where the vectors begin in the file, in bytes.
        scales_begin: Where the scales of an ``int8`` shard begin.
        off: Largest amount by which a cosine with one of these vectors can differ from that with the vector before it
            was rounded: the length of the longest rounding error.
    """

    path: Path
    number_format: NumberFormat
    shape: tuple[int, int]
    begin: int
    scales_begin: int
    off: float

    def open(self) -> OpenShard:
        """Map the file into memory.

        Raises:
            StorageError: It is gone, or shorter than it was.
        """
        try:
            numbers = np.memmap(self.path, dtype=self.number_format, mode="r", offset=self.begin, shape=self.shape)
            if self.number_format != "int8":
                return OpenShard(numbers, None)
            scales = np.memmap(self.path, "<f4", mode="r", offset=self.scales_begin, shape=(self.shape[0], 1))
        except (OSError, ValueError) as error:
            raise StorageError(
                f"cannot read the vectors in {self.path}: {error}; run the same command again to encode them"
            ) from error
        return OpenShard(numbers, scales)


@dataclass(frozen=True)
class OpenShard:
    """A mapped shard."""

    numbers: NDArray[np.generic]
    scales: NDArray[np.float32] | None

    def rows(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a copy of some rows in float32."""
        import torch

        # numpy converts float16 without the processor's instructions for it, which takes ten times as long.
        vectors = torch.from_numpy(np.array(self.numbers[rows])).float()
        if self.scales is not None:
            vectors *= torch.from_numpy(np.array(self.scales[rows]))
        array: NDArray[np.float32] = vectors.numpy()
        return array


@dataclass(frozen=True)
class ShardedVectors:
    """The vectors of a corpus in shards, in order.

    Attributes:
        shards: At least one.
    """

    shards: tuple[Shard, ...]
    _open: dict[int, OpenShard] = field(default_factory=dict, compare=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of documents, and length of a vector."""
        return sum(shard.shape[0] for shard in self.shards), self.shards[0].shape[1]

    @property
    def off(self) -> float:
        """Largest amount by which rounding can change a cosine."""
        return max(shard.off for shard in self.shards)

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield copies in float32; one shard is mapped at a time."""
        first = 0
        for shard in self.shards:
            opened, size = shard.open(), rows_of_a_block(shard.shape[1])
            for begin in range(0, shard.shape[0], size):
                yield first + begin, opened.rows(slice(begin, begin + size))
            first += shard.shape[0]

    def take(self, documents: Sequence[int]) -> NDArray[np.float32]:
        """Return the vectors of some documents; shards that were asked stay mapped."""
        rows = np.asarray(documents, dtype=np.int64)
        ends = np.cumsum([shard.shape[0] for shard in self.shards])
        numbers = np.searchsorted(ends, rows, side="right")
        vectors = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        for number in np.unique(numbers).tolist():
            if number not in self._open:
                self._open[number] = self.shards[number].open()
            own = numbers == number
            vectors[own] = self._open[number].rows(rows[own] - (ends[number] - self.shards[number].shape[0]))
        return vectors


def shard_path(folder: Path, texts: Sequence[str], number_format: NumberFormat) -> Path:
    """Return the file of a shard under the folder of a model's vectors."""
    name = content_hash([sha256_text(text) for text in texts])[:32]
    return folder / number_format / f"{name}.safetensors"


def write_shard(path: Path, vectors: NDArray[np.float32], number_format: NumberFormat) -> None:
    """Write ``[documents, dimension]`` float32 in a number format, a whole file or none.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
        ConfigError: The number format is unknown.
    """
    from safetensors.numpy import save

    numbers, scales = _rounded(vectors, number_format)
    arrays = {VECTORS: numbers} if scales is None else {VECTORS: numbers, SCALES: scales}
    back = numbers.astype(np.float32) * (1 if scales is None else scales)
    off = float(np.linalg.norm(vectors - back, axis=1).max(initial=0.0))
    write_atomic(path, save(arrays, {CHECKSUM: str(_checksum(arrays)), OFF: repr(off)}))


def read_shard(path: Path, number_format: NumberFormat, shape: tuple[int, int]) -> Shard:
    """Verify a shard and return it.

    Args:
        path: The file.
        number_format: What it must hold.
        shape: Documents, and length of a vector, that it must have.

    Raises:
        BrokenShard: It is cut short, damaged, or holds something else.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > LONGEST_HEADER:
                raise BrokenShard("its header is damaged")
            header = json.loads(stream.read(length))
        entry, about = header[VECTORS], header["__metadata__"]
        if (entry["dtype"], tuple(entry["shape"])) != (NAMES[number_format], shape):
            raise BrokenShard(f"it holds {entry['shape']} numbers of {entry['dtype']}")
        begins = {name: 8 + length + header[name]["data_offsets"][0] for name in (VECTORS, SCALES) if name in header}
        shard = Shard(
            path=path,
            number_format=number_format,
            shape=shape,
            begin=begins[VECTORS],
            scales_begin=begins.get(SCALES, 0),
            off=float(about[OFF]),
        )
        opened = shard.open()
        arrays = {VECTORS: opened.numbers} | ({} if opened.scales is None else {SCALES: opened.scales})
        if str(_checksum(arrays)) != about[CHECKSUM]:
            raise BrokenShard("its checksum is wrong")
    except (OSError, ValueError, KeyError, TypeError, IndexError, StorageError) as error:
        raise BrokenShard(f"it is not whole: {error}") from error
    return shard


def _rounded(
    vectors: NDArray[np.float32], number_format: str
) -> tuple[NDArray[np.generic], NDArray[np.float32] | None]:
    """Return the numbers in a format, and one scale ``[documents, 1]`` for each vector in ``int8``."""
    if number_format not in get_args(NumberFormat):
        raise ConfigError(f"no number format '{number_format}' of vectors; take one of {', '.join(BYTES)}")
    if number_format != "int8":
        return vectors.astype(number_format), None
    scales = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-12).astype(np.float32) / np.float32(127)
    return np.rint(vectors / scales).astype(np.int8), scales


def _checksum(arrays: dict[str, NDArray[np.generic]]) -> int:
    checksum = 0
    for name in sorted(arrays):
        checksum = zlib.crc32(np.ascontiguousarray(arrays[name]).data, checksum)
    return checksum
