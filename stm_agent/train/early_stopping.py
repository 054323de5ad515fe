"""Early stopping: weights of an earlier step, if they serve queries that training does not see clearly better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

CHECKS = 8
"""Times that the held-out loss is computed, at equal distances, the last time after the last step."""
HELD_ROWS = 128
"""Held-out queries, at most: a check takes about as long as two steps."""
CLEARLY = 2.0
"""Standard errors by which an earlier step must be better than the last one. The best of eight is often an early one by
chance, and gives away a part of the training."""


def held_out(positives: Sequence[Sequence[int]], bag: Sequence[int]) -> list[int]:
    """Return the rows out of the bag that share no relevant passage with a row in it, at most :data:`HELD_ROWS`.

    A bag that is drawn with replacement leaves out about 37 % of the rows, so that none is lost to the check.

    Args:
        positives: The relevant passages of each row.
        bag: Numbers of the rows that are trained on; some repeat.
    """
    drawn = set(bag)
    known = {passage for row in drawn for passage in positives[row]}
    free = [row for row, passages in enumerate(positives) if row not in drawn and known.isdisjoint(passages)]
    return free[:HELD_ROWS]


def standard_error(gains: NDArray[np.float64]) -> float:
    """Return the standard error of the mean of paired gains."""
    return float(gains.std() / len(gains) ** 0.5)


def is_clear(gains: NDArray[np.float64]) -> bool:
    """Return whether the mean of paired gains is more than :data:`CLEARLY` standard errors above 0."""
    return bool(gains.mean() > CLEARLY * standard_error(gains))


class BestWeights:
    """Keeps a copy of the weights of the best check so far.

    Attributes:
        losses: Mean held-out loss by step.
        step: The step whose weights are in place after :meth:`restore`.
    """

    def __init__(self, weights: Sequence[Tensor], steps: int, loss: Callable[[], Sequence[float]] | None) -> None:
        """Check ``weights`` by the loss of each held-out query; None: never, and the last weights stay."""
        self._weights, self._loss, self.step = weights, loss, steps
        self._checked = {round(steps * number / CHECKS) for number in range(1, CHECKS + 1)}
        self._copy: list[Tensor] = []
        self._best: tuple[int, np.ndarray] | None = None
        self._last = np.zeros(0)
        self.losses: dict[int, float] = {}

    def after(self, step: int) -> None:
        """Check the weights, if it is time to."""
        if self._loss is None or step not in self._checked:
            return
        self._last = np.asarray(self._loss(), dtype=np.float64)
        self.losses[step] = float(self._last.mean())
        if self._best is None or self._last.mean() < self._best[1].mean():
            self._best = step, self._last
            self._copy = [weight.detach().clone() for weight in self._weights]

    def restore(self) -> None:
        """Put the weights of the best check back, if they are clearly better than the last."""
        if self._best is None:
            return
        step, best = self._best
        if is_clear(self._last - best):
            self.step = step
            for weight, best_weight in zip(self._weights, self._copy, strict=True):
                weight.data.copy_(best_weight)
