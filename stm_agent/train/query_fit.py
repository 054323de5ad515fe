"""Fit a low-rank residual map on query vectors, with the number of epochs found on groups that were held out.

Each fold of the groups is held out once; the mean gain over all held-out queries after each epoch decides how long the
map is trained on all queries, and whether there is one at all. Without it such maps are easily overfitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.query_map import Matrix, mapped
from stm_agent.domain.spec import QueryAdapterSpec
from stm_agent.domain.text import draw
from stm_agent.evaluate.metrics import CUT, score
from stm_agent.evaluate.ranking import rank

if TYPE_CHECKING:
    from torch import Tensor

Vectors = NDArray[np.float32]

ONE_SIDED = 1.645
"""Standard errors of a gain above which one in twenty worthless maps would be."""


@dataclass(frozen=True, kw_only=True)
class QueryTask:
    """Queries and passages as vectors.

    Attributes:
        queries: ``[queries, dimension]`` float32, L2-normalised.
        passages: ``[passages, dimension]`` float32, L2-normalised.
        relevant: Columns of the passages that are relevant to each query; at least one.
        ignored: Columns that are neither relevant nor wrong.
        groups: Group of each query.
    """

    queries: Vectors
    passages: Vectors
    relevant: Sequence[frozenset[int]]
    ignored: Sequence[frozenset[int]]
    groups: Sequence[str]

    def ndcg(self, rows: Sequence[int], queries: Vectors) -> NDArray[np.float64]:
        """Return nDCG@10 of some queries, of which ``queries`` has the vectors, without the ignored passages."""
        names, ids = [str(row) for row in rows], [str(column) for column in range(len(self.passages))]
        depth = CUT + max((len(self.ignored[row]) for row in rows), default=0)
        run = rank(names, queries, ids, self.passages, k=depth)
        for row, name in zip(rows, names, strict=True):
            for column in self.ignored[row]:
                run[name].pop(str(column), None)
        qrels = {name: {str(c): 1 for c in self.relevant[row]} for row, name in zip(rows, names, strict=True)}
        per_query = score(run, qrels).per_query
        return np.array([per_query[name] for name in names])


@dataclass(frozen=True, kw_only=True)
class FittedMap:
    """A map and what it gained on groups that it was not trained on.

    Attributes:
        matrix: W of ``normalise(q + W q)``, ``[dimension, dimension]`` float32; all 0 if the map was refused.
        accepted: Whether the gain is larger than :data:`ONE_SIDED` standard errors.
        before: nDCG@10 of the queries without a map.
        gain: Mean gain in nDCG@10 of held-out queries; the epoch of each fold is chosen on the other folds.
        error: Standard error of the gain, over groups.
        epochs: Epochs with the highest gain over all folds, for which the map is trained.
    """

    matrix: Matrix
    accepted: bool
    before: float
    gain: float
    error: float
    epochs: int


def fit_query_map(task: QueryTask, spec: QueryAdapterSpec, seed: int) -> FittedMap:
    """Find the number of epochs on held-out groups, then fit the map on all queries.

    Args:
        task: Queries and passages.
        spec: Rank, schedule and folds.
        seed: Seed of the first weights and of the order.
    """
    everything = range(len(task.queries))
    before = task.ndcg(everything, task.queries)
    gains = np.zeros((spec.epochs, len(task.queries)))
    lists = _Lists.of(task, spec.depth, seed)
    folds = np.array([draw(f"fold:{group}", spec.folds) for group in task.groups])
    for fold in range(spec.folds):
        held, rest = np.flatnonzero(folds == fold).tolist(), np.flatnonzero(folds != fold).tolist()
        if held and rest:

            def record(epoch: int, matrix: Matrix, held: list[int] = held) -> None:
                gains[epoch, held] = task.ndcg(held, mapped(task.queries[held], matrix)) - before[held]

            _train(task, lists, rest, spec, seed, spec.epochs, record)
    honest = _honest(gains, folds)
    gain, error, best = float(honest.mean()), _error(honest, task.groups), int(gains.mean(axis=1).argmax())
    accepted = gain > ONE_SIDED * error
    matrix = np.zeros((task.queries.shape[1],) * 2, dtype=np.float32)
    if accepted:
        matrix = _train(task, lists, list(everything), spec, seed, best + 1, lambda epoch, matrix: None)
    return FittedMap(
        matrix=matrix,
        accepted=accepted,
        before=float(before.mean()),
        gain=gain,
        error=error,
        epochs=best + 1,
    )


def _honest(gains: NDArray[np.float64], folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the gain of each query at the epoch that is best for the other folds: ``[queries]``.

    The gain at the best epoch of all would be too high, since noise helped to choose it.
    """
    honest = np.zeros(len(folds))
    for fold in set(folds.tolist()):
        others = gains[:, folds != fold]
        if others.size:
            honest[folds == fold] = gains[others.mean(axis=1).argmax(), folds == fold]
    return honest


def _error(gains: NDArray[np.float64], groups: Sequence[str]) -> float:
    """Return the standard error of the mean gain; queries of one group are not independent."""
    sums: dict[str, float] = {}
    for gain, group in zip(gains - gains.mean(), groups, strict=True):
        sums[group] = sums.get(group, 0.0) + float(gain)
    return float(np.sqrt(sum(value**2 for value in sums.values()))) / len(gains)


@dataclass(frozen=True)
class _Lists:
    """What each query is trained on: its relevant passages, its nearest others, and random ones.

    Attributes:
        columns: ``[queries, width]`` int64.
        targets: ``[queries, width]`` float32, equal shares of the relevant passages.
        empty: ``[queries, width]``, cells that hold no passage.
    """

    columns: NDArray[np.int64]
    targets: NDArray[np.float32]
    empty: NDArray[np.bool_]

    @classmethod
    def of(cls, task: QueryTask, depth: int, seed: int) -> _Lists:
        random = np.random.default_rng(seed)
        rows: list[tuple[list[int], list[int]]] = []
        excluded = [relevant | ignored for relevant, ignored in zip(task.relevant, task.ignored, strict=True)]
        names, ids = [str(row) for row in range(len(excluded))], [str(c) for c in range(len(task.passages))]
        deepest = depth + max(map(len, excluded), default=0)
        run = rank(names, task.queries, ids, task.passages, k=deepest)
        for row, name in enumerate(names):
            hits = {int(column): value for column, value in run[name].items()}
            near = sorted(hits.items(), key=lambda hit: (-hit[1], hit[0]))
            hard = [column for column, _ in near if column not in excluded[row]][:depth]
            drawn = random.integers(0, len(ids), depth).tolist()
            easy = [column for column in dict.fromkeys(drawn) if column not in excluded[row] and column not in hard]
            rows.append((sorted(task.relevant[row]), [*hard, *easy]))
        width = max(len(relevant) + len(others) for relevant, others in rows)
        columns, targets = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.float32)
        empty = np.ones((len(rows), width), np.bool_)
        for number, (relevant, others) in enumerate(rows):
            filled = [*relevant, *others]
            columns[number, : len(filled)], empty[number, : len(filled)] = filled, False
            targets[number, : len(relevant)] = 1 / len(relevant)
        return cls(columns, targets, empty)


def _train(
    task: QueryTask,
    lists: _Lists,
    rows: Sequence[int],
    spec: QueryAdapterSpec,
    seed: int,
    epochs: int,
    after_epoch: Callable[[int, Matrix], None],
) -> Matrix:
    """Train a map on some queries; return W and call ``after_epoch`` with (epoch, W so far)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    dimension = task.queries.shape[1]
    inner = torch.randn(spec.rank, dimension, generator=generator) / dimension**0.5
    outer = torch.zeros(dimension, spec.rank)
    weights = [inner.requires_grad_(), outer.requires_grad_()]
    optimiser = torch.optim.AdamW(weights, lr=spec.learning_rate, weight_decay=spec.weight_decay)
    own = np.asarray(rows)
    for epoch in range(epochs):
        order = torch.randperm(len(own), generator=generator).numpy()
        for begin in range(0, len(own), spec.batch_size):
            loss = _loss(task, lists, own[order[begin : begin + spec.batch_size]], weights, spec.scale)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        after_epoch(epoch, _product(weights))
    return _product(weights)


def _loss(task: QueryTask, lists: _Lists, rows: NDArray[np.int64], weights: list[Tensor], scale: float) -> Tensor:
    """Return the cross-entropy of the relevant passages' shares in each query's list."""
    import torch

    inner, outer = weights
    queries = torch.from_numpy(task.queries[rows])
    moved = torch.nn.functional.normalize(queries + queries @ inner.T @ outer.T, dim=1)
    passages = torch.from_numpy(task.passages[lists.columns[rows]])
    logits = scale * (passages @ moved.unsqueeze(2)).squeeze(2)
    # A finite number, since a target of 0 times -inf is not one.
    logits = logits.masked_fill(torch.from_numpy(lists.empty[rows]), -1e4)
    return -(torch.from_numpy(lists.targets[rows]) * logits.log_softmax(dim=1)).sum(dim=1).mean()


def _product(weights: list[Tensor]) -> Matrix:
    matrix: Matrix = (weights[1] @ weights[0]).detach().numpy().astype(np.float32)
    return matrix
