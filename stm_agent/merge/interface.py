"""What an expert adds to its base, as an interface, and the checks that all kinds of experts share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor


class Delta(ABC):
    """What an expert, or a merge of experts, adds to the base's weights, one matrix after another."""

    @property
    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name of each changed weight, as in ``network.named_parameters()``, and its shape."""

    @abstractmethod
    def matrix(self, name: str) -> Tensor:
        """Return what is added to one weight, float32; computed at every call."""

    @property
    def splits(self) -> bool:
        """Whether some rows of a weight can be computed without the whole matrix."""
        return False

    def rows(self, name: str, first: int, count: int) -> Tensor:
        """Return ``count`` rows of what is added to one weight, from row ``first``, float32."""
        matrix = self.matrix(name)
        return (matrix if matrix.dim() else matrix[None])[first : first + count]

    def add_to(self, weight: Tensor, name: str, first: int = 0) -> None:
        """Add the delta to a weight, or to its rows from ``first``, in place."""
        rows = self.rows(name, first, len(weight)) if weight.dim() else self.matrix(name)
        weight.add_(rows.to(weight.device, weight.dtype))


def check_same_base(deltas: Sequence[Delta]) -> None:
    """Check that deltas change the same weights of the same shapes.

    Raises:
        ConfigError: They do not; the message names the first weight that differs.
    """
    first = deltas[0].shapes
    for number, delta in enumerate(deltas[1:], 2):
        other = delta.shapes
        if unshared := sorted(first.keys() ^ other.keys()):
            raise ConfigError(
                f"expert {number} and expert 1 change different weights (for example {unshared[0]}); "
                "retrain with the same targets"
            )
        for name, shape in first.items():
            if other[name] != shape:
                raise ConfigError(
                    f"expert {number} is of another base model than expert 1: {name} is {other[name]} and {shape}"
                )


def is_finite(weights: Tensor) -> bool:
    """Return whether no weight is NaN or infinite."""
    # A finite sum proves it in one pass; a sum that overflows does not disprove it.
    return math.isfinite(weights.sum()) or bool(weights.isfinite().all())


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Turn the error of a safetensors file that cannot be read into one line.

    Args:
        path: The file, for the message.

    Yields:
        The same path.

    Raises:
        DataError: The file is cut off, or not in safetensors format.
    """
    from safetensors import SafetensorError

    try:
        yield path
    except SafetensorError as error:
        raise DataError(f"{path} is not a complete safetensors file ({error}); save or download it again") from error
