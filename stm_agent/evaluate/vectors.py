"""The vectors of a corpus as searches read them: block by block, whether they are in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

BLOCK = 8192
"""Rows of a block, at most."""
BLOCK_NUMBERS = 2**24
"""Numbers of a block in float32, at most: 64 MiB."""


@runtime_checkable
class CorpusVectors(Protocol):
    """One L2-normalised vector for each document, in the order of the corpus."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of documents, and length of a vector."""
        ...

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the number of a block's first document and the block, ``[documents, dimension]`` float32."""
        ...

    def take(self, documents: Sequence[int]) -> NDArray[np.float32]:
        """Return ``[documents, dimension]`` float32: the vectors of the documents with these numbers."""
        ...


@dataclass(frozen=True)
class ArrayVectors:
    """Vectors in memory.

    Attributes:
        array: ``[documents, dimension]`` float32.
    """

    array: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of documents, and length of a vector."""
        documents, dimension = self.array.shape
        return documents, dimension

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield views of the array."""
        rows = rows_of_a_block(self.shape[1])
        for begin in range(0, len(self.array), rows):
            yield begin, self.array[begin : begin + rows]

    def take(self, documents: Sequence[int]) -> NDArray[np.float32]:
        """Return a copy of these rows."""
        rows: NDArray[np.float32] = self.array[np.asarray(documents, dtype=np.int64)]
        return rows


def as_vectors(vectors: NDArray[np.float32] | CorpusVectors) -> CorpusVectors:
    """Return vectors behind the interface; an array is not copied."""
    return ArrayVectors(vectors) if isinstance(vectors, np.ndarray) else vectors


def rows_of_a_block(dimension: int) -> int:
    """Return how many vectors of this length one block has."""
    return max(1, min(BLOCK, BLOCK_NUMBERS // max(dimension, 1)))
