"""Any model with a map on its query vectors, as a value that jobs can carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.query_map import Matrix, mapped
from stm_agent.errors import StorageError
from stm_agent.evaluate.encoder import Encoder, EncoderSource, MapsQueries
from stm_agent.files import sha256_file

MAP = "query_map.safetensors"
"""Name of the file that holds the map W in a query adapter's folder."""


class MappedEncoder:
    """An encoder whose queries are moved by a map; cached vectors of the encoder stay valid."""

    def __init__(self, encoder: Encoder, matrix: Matrix) -> None:
        """Apply ``matrix``, ``[dimension, dimension]`` float32, after whatever map the encoder has."""
        self.encoder, self.matrix = encoder, matrix

    @property
    def identity(self) -> str:
        """Identity of the encoder, since what :meth:`encode` returns is the encoder's."""
        return self.encoder.identity

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.encoder.dimension

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        """Return the encoder's vectors, without the map."""
        return self.encoder.encode(texts, prefix=prefix)

    def map_queries(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors that queries are searched with."""
        inner = self.encoder.map_queries(vectors) if isinstance(self.encoder, MapsQueries) else vectors
        return mapped(inner, self.matrix)

    def room(self, prefix: str) -> int | None:
        """Return the tokens the encoder's window has left after ``prefix``."""
        return self.encoder.room(prefix)


@dataclass(frozen=True)
class QueryAdapted:
    """A model with a query adapter.

    Attributes:
        model: The model.
        folder: Folder of the adapter, with :data:`MAP` in it.
    """

    model: EncoderSource
    folder: Path

    def source_key(self) -> object:
        """Return the model's key and the map's hash."""
        return ["query-adapted", self.model.source_key(), sha256_file(self.folder / MAP)]

    def open(self) -> MappedEncoder:
        """Load the model and the map."""
        return MappedEncoder(self.model.open(), load_map(self.folder))


def save_map(matrix: Matrix, folder: Path) -> None:
    """Write a map into a query adapter's folder."""
    from safetensors.numpy import save_file

    save_file({"weight": np.ascontiguousarray(matrix, dtype=np.float32)}, folder / MAP)


def load_map(folder: Path) -> Matrix:
    """Read a map, ``[dimension, dimension]`` float32.

    Raises:
        StorageError: The folder holds none.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        matrix: Matrix = load_file(folder / MAP)["weight"]
    except (OSError, KeyError, SafetensorError) as error:
        raise StorageError(f"{folder} holds no query map; remove it and train the query adapter again") from error
    return matrix
