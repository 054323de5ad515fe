"""Share of padding in the forwards of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from stm_agent.backbone.packed import PackedTransformer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass
class Padding:
    """Cells of all forwards, and the number of them that held a token."""

    cells: int = 0
    tokens: int = 0

    @property
    def share(self) -> float:
        """Share of the cells that held no token."""
        return 1 - self.tokens / self.cells if self.cells else 0.0


@contextmanager
def padding_of(model: SentenceTransformer) -> Iterator[Padding]:
    """Count the cells of every forward of ``model`` in the block."""
    first = model[0]
    count = Padding()

    def count_cells(_module: object, inputs: tuple[dict[str, Tensor], ...], _output: object) -> None:
        mask = inputs[0]["attention_mask"]
        count.tokens += int(mask.sum())
        count.cells += first.cells if isinstance(first, PackedTransformer) else mask.numel()

    handle = first.register_forward_hook(count_cells)
    try:
        yield count
    finally:
        handle.remove()
