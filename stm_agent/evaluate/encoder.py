"""The interface between the engine and everything that computes vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """Computes vectors of texts."""

    @property
    def identity(self) -> str:
        """Hash of everything that decides a vector: weights, pooling, max length, dtype, attention."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        """Return ``[texts, dimension]`` float32, L2-normalised, of ``prefix + text``."""
        ...

    def room(self, prefix: str) -> int | None:
        """Return the tokens a model's window has left after ``prefix``; None if it is unlimited."""
        ...


@runtime_checkable
class EncodesQueriesApart(Protocol):
    """An encoder of passages with another encoder for queries; its identity and ``encode`` are those of passages."""

    @property
    def query_encoder(self) -> Encoder:
        """The encoder of queries, of the same dimension."""
        ...


class EncoderSource(Protocol):
    """A model as a value: small, picklable, and known by what decides its vectors before it is loaded."""

    def source_key(self) -> object:
        """Return JSON values that change whenever the model's vectors may change."""
        ...

    def open(self) -> Encoder:
        """Load the model.

        Raises:
            BackboneError: It cannot be loaded.
        """
        ...
