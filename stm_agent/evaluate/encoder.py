"""The interface between the engine and everything that computes vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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
