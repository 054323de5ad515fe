"""What every vector store can do for ``stm-agent index``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stm_agent.deploy.engines.addresses import redacted, without_secrets
from stm_agent.errors import ConfigError, StorageError, first_line, raised_as

SCHEMA = 1


@dataclass(frozen=True)
class IndexIdentity:
    """What an index was made of; it is stored in the engine, beside the passages.

    Attributes:
        model: Content hash of the model.
        corpus: Hash over the corpus.
        dimension: Length of a vector.
        passages: Number of passages.
        schema: Version of the layout.
    """

    model: str
    corpus: str
    dimension: int
    passages: int
    schema: int = SCHEMA

    def to_json(self) -> dict[str, str | int]:
        """Return the identity as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Passage:
    """One passage with its vector, ``[dimension]`` float32 of length 1."""

    document: str
    title: str
    text: str
    vector: NDArray[np.float32]


class Engine(Protocol):
    """An index in a vector store. Batches are written in order, and writing one again changes nothing."""

    exact: bool
    """Whether its search gives the exact nearest neighbours."""

    def stored(self) -> dict[str, str | int] | None:
        """Return the identity that the index of this name has; None: no index has that name. Empty: it is not ours."""
        ...

    def create(self, identity: IndexIdentity, *, replace: bool) -> None:
        """Make an empty index; with ``replace`` in place of the one that is there, which :meth:`stored` found ours."""
        ...

    def written(self) -> int:
        """Return the number of passages in the index."""
        ...

    def write(self, passages: Sequence[Passage]) -> None:
        """Write a batch."""
        ...

    def finish(self) -> None:
        """Make the index ready to be searched."""
        ...

    def search(self, vector: NDArray[np.float32], top: int) -> list[str]:
        """Return the ids of the nearest passages, best first."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


@contextmanager
def engine_errors(engine: str, where: str, fix: str) -> Iterator[None]:
    """Turn whatever an engine's client raises into one line, without the secrets of the address ``where``."""

    def unusable(error: BaseException) -> StorageError:
        reason = without_secrets(first_line(error), where)[:200]
        return StorageError(f"{engine} at {redacted(where)} cannot be used: {reason}; {fix}")

    with raised_as(unusable):
        yield


def check_continues(
    stored: dict[str, str | int] | None, identity: IndexIdentity, name: str, *, replace: bool = False
) -> bool:
    """Return whether to continue the index that is there; otherwise a new one is made in its place.

    Raises:
        ConfigError: It is another index and ``replace`` is not set, or it was not written by this program.
    """
    if stored is None:
        return False
    if not stored:
        raise ConfigError(f"'{name}' is already there and is not an index of stm-agent; give another --name")
    if replace:
        return False
    if stored == identity.to_json():
        return True
    raise ConfigError(
        f"'{name}' is already there and is the index of another model or corpus; give another --name, or --replace"
    )
