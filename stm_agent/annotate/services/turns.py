"""Turns at a model: one after another, people who wait at a screen before background work."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stm_agent.evaluate.cache import Vectors
    from stm_agent.evaluate.encoder import Encoder

SLICE = 16
"""Texts that a model encodes in one turn: of long ones that is a second or two."""


class Turn:
    """Something that serves one at a time; a plain lock would give it back to who has just let go of it."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._changed = threading.Condition()
        self._taken = False
        self._ahead = 0

    @contextmanager
    def taken(self, *, first: bool) -> Iterator[None]:
        """Have it while the block lasts; those who come ``first`` go before all others."""
        with self._changed:
            self._ahead += first
            self._changed.wait_for(lambda: not self._taken and (first or not self._ahead))
            self._ahead -= first
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()


@dataclass(frozen=True)
class InSlices:
    """An encoder that many share: it is let go of after every few texts.

    Attributes:
        encoder: Makes the vectors.
        turn: Whose turn it is.
        first: Whether somebody waits for them.
    """

    encoder: Encoder
    turn: Turn
    first: bool

    @property
    def identity(self) -> str:
        """Hash of all that decides a vector."""
        return self.encoder.identity

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.encoder.dimension

    def room(self, prefix: str) -> int | None:
        """Return the tokens the window has left behind ``prefix``; None: it has no end."""
        return self.encoder.room(prefix)

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> Vectors:
        """Return ``[texts, dimension]`` float32."""
        # Texts of a length share a slice, as they share a batch: a model pads all to the longest.
        order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for begin in range(0, len(order), SLICE):
            some = order[begin : begin + SLICE]
            with self.turn.taken(first=self.first):
                vectors[some] = self.encoder.encode([texts[number] for number in some], prefix=prefix)
        return vectors
