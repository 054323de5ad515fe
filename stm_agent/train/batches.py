"""Batches in which no two rows share a group or a text: in-batch negatives that are negatives."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from stm_agent.domain.text import fold


class GroupedBatches(Sampler[list[int]]):
    """Endless passes over the rows in a seeded order, cut into batches without a shared group or text.

    A row that does not fit the current batch waits for the next one. What is left at the end of a pass begins the next
    pass, so no row is dropped.
    """

    def __init__(
        self,
        groups: Sequence[str],
        texts: Sequence[Sequence[str]],
        size: int,
        steps: int,
        seed: int,
        *,
        neighbours: Sequence[Sequence[int]] = (),
        joining: int = 0,
        copies: int = 1,
        weights: Sequence[float] = (),
    ) -> None:
        """Plan ``steps`` batches of ``size`` rows.

        Args:
            groups: Group of each row.
            texts: All texts of each row.
            size: Rows of a batch; fewer where there are fewer groups.
            steps: Batches.
            seed: Seed of the order.
            neighbours: For each row, the rows that are hard to distinguish from it.
            joining: Neighbours that are added to a row's batch before their own turn.
            copies: The n-th visit of row r yields ``r + (n % copies) * rows``.
            weights: How often each row is drawn, relative to the others; empty: all equally often.
        """
        # The smallest weight becomes 1, so that every pass has every group and every batch is full.
        least = min(weights, default=1.0)
        self.weights = [weight / least for weight in weights]
        self.neighbours, self.joining, self.copies = neighbours, joining, copies
        self.keys = [frozenset((f"group {group}", *map(fold, row))) for group, row in zip(groups, texts, strict=True)]
        self.size = min(size, len(set(groups)))
        self.steps = steps
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        """Yield row numbers, batch by batch; the same seed gives the same batches."""
        order = random.Random(self.seed)
        visits = [0] * len(self.keys)
        waiting: list[int] = []
        for _ in range(self.steps):
            batch: list[int] = []
            taken: set[str] = set()
            passes = 0
            while len(batch) < self.size and passes <= 1:
                later = []
                for position, row in enumerate(waiting):
                    if len(batch) == self.size:
                        later += waiting[position:]
                        break
                    if self._join(row, batch, taken):
                        for other in self._followers(row, order):
                            self._join(other, batch, taken)
                    else:
                        later.append(row)
                waiting = later
                if len(batch) < self.size:
                    fresh = self._pass(order)
                    order.shuffle(fresh)
                    waiting += fresh
                    passes += 1
            yield [self._visit(row, visits) for row in batch]

    def _pass(self, order: random.Random) -> list[int]:
        rows = range(len(self.keys))
        if not self.weights:
            return list(rows)
        # A weight of 2.3 gives two visits and, with probability 0.3, a third.
        return [row for row in rows for _ in range(int(self.weights[row] + order.random()))]

    def _join(self, row: int, batch: list[int], taken: set[str]) -> bool:
        if len(batch) >= self.size or not taken.isdisjoint(self.keys[row]):
            return False
        batch.append(row)
        taken |= self.keys[row]
        return True

    def _followers(self, row: int, order: random.Random) -> list[int]:
        if not self.joining or not self.neighbours[row]:
            return []
        near = list(self.neighbours[row])
        return order.sample(near, min(self.joining, len(near)))

    def _visit(self, row: int, visits: list[int]) -> int:
        visits[row] += 1
        return row + (visits[row] - 1) % self.copies * len(self.keys)


class SharedBatches(Sampler[list[int]]):
    """Batches that several processes share: each is cut into one part for each process, part after part.

    No two rows of the whole batch share a group or a text, so rows of one process are negatives of another's queries.
    """

    def __init__(self, whole: GroupedBatches | OneSourceBatches, processes: int) -> None:
        """Cut the batches of ``whole`` into equal parts; rows beyond a multiple of ``processes`` are left out."""
        self.whole, self.processes = whole, processes
        self.size = whole.size // processes

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self.whole) * self.processes

    def __iter__(self) -> Iterator[list[int]]:
        """Yield row numbers, part by part."""
        for batch in self.whole:
            size = len(batch) // self.processes
            for number in range(self.processes):
                yield batch[size * number : size * (number + 1)]


class OneSourceBatches(Sampler[list[int]]):
    """Batches of one source each; a source is drawn in proportion to the summed weight of its rows.

    In a mixed batch a model could recognise negatives by the style of their source, and learn nothing else.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[int], GroupedBatches, float]], steps: int, seed: int) -> None:
        """Plan ``steps`` batches.

        Args:
            parts: For each source its row numbers, batches of positions in these, and its weight.
            steps: Batches.
            seed: Seed of the order of sources.
        """
        self.parts, self.steps, self.seed = parts, steps, seed
        self.size = max(batches.size for _, batches, _ in parts)

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        """Yield row numbers, batch by batch; the same seed gives the same batches."""
        order = random.Random(self.seed)
        iterators = [iter(batches) for _, batches, _ in self.parts]
        weights = [weight for _, _, weight in self.parts]
        for _ in range(self.steps):
            chosen = order.choices(range(len(iterators)), weights)[0]
            rows = self.parts[chosen][0]
            yield [rows[position] for position in next(iterators[chosen])]
