"""Batches in which no two rows share a group or a text: in-batch negatives that are negatives."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler


class GroupedBatches(Sampler[list[int]]):
    """Endless passes over the rows in a seeded order, cut into batches without a shared group or text.

    A row that does not fit the batch at hand waits for the next one; nothing is dropped but the
    remainder of a pass, which opens the next pass.
    """

    def __init__(self, groups: Sequence[str], texts: Sequence[Sequence[str]], size: int, steps: int, seed: int) -> None:
        """Plan ``steps`` batches of ``size`` rows; ``texts`` are all texts of each row."""
        self.keys = [
            frozenset((f"group {group}", *(" ".join(text.lower().split()) for text in row)))
            for group, row in zip(groups, texts, strict=True)
        ]
        self.size = min(size, len(set(groups)))
        self.steps = steps
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        """Yield row numbers, batch by batch; the same seed gives the same batches."""
        order = random.Random(self.seed)
        waiting: list[int] = []
        for _ in range(self.steps):
            batch: list[int] = []
            taken: set[str] = set()
            passes = 0
            while len(batch) < self.size and passes <= 1:
                later = []
                for row in waiting:
                    if len(batch) < self.size and taken.isdisjoint(self.keys[row]):
                        batch.append(row)
                        taken |= self.keys[row]
                    else:
                        later.append(row)
                waiting = later
                if len(batch) < self.size:
                    fresh = list(range(len(self.keys)))
                    order.shuffle(fresh)
                    waiting += fresh
                    passes += 1
            yield batch
