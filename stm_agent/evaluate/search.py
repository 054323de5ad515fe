"""Exact top-k over blocks of documents: one block is in memory at a time, and each query keeps its best documents.

Once a query has k documents, a block can only add those that score above its worst: a comparison leaves a handful of
candidates of thousands, and only these are sorted. The whole matrix of scores never exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stm_agent.evaluate.vectors import CorpusVectors
from stm_agent.progress import safe_point

if TYPE_CHECKING:
    from torch import Tensor

SCORES = 2**22
"""Scores of queries and documents held at once, at most: 16 MiB."""
NOBODY = -1
"""Column of a query's free place."""


def top_k(
    queries: NDArray[np.float32], vectors: CorpusVectors, k: int, excluded: Mapping[int, int] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the scores and numbers of the ``k`` nearest documents of each query, nearest first.

    Documents of equal scores are in the order of the corpus, at the last rank too. On a GPU blocks are scored there.

    Args:
        queries: ``[queries, dimension]`` float32, normalised.
        vectors: The corpus.
        k: Documents of each query.
        excluded: Query number -> number of a document that it must not find.

    Returns:
        ``[queries, k]`` float32 and int64, where k is at most the number of documents. A place that no document takes
        has the score -inf and the number -1.

    Raises:
        StopRequested: A stop was asked for between two blocks.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    k = min(k, vectors.shape[0])
    if not k:
        return np.empty((len(queries), 0), dtype=np.float32), np.empty((len(queries), 0), dtype=np.int64)
    rows = torch.from_numpy(np.ascontiguousarray(queries)).to(device)
    best = torch.full((len(rows), k), -torch.inf, device=device)
    columns = torch.full((len(rows), k), NOBODY, dtype=torch.int64, device=device)
    own = _by_document(excluded or {})
    for begin, block in vectors.blocks():
        safe_point()
        documents = _tensor(block).to(device)
        mine = [(query, document - begin) for document, query in _between(own, begin, begin + len(block))]
        size = max(1, SCORES // len(block))
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            scores = rows[part] @ documents.T
            for query, column in mine:
                if first <= query < first + size:
                    scores[query - first, column] = -torch.inf
            _merge(best[part], columns[part], scores, begin)
    return best.cpu().numpy(), columns.cpu().numpy()


def _merge(best: Tensor, columns: Tensor, scores: Tensor, begin: int) -> None:
    """Let the documents of a block compete with the best so far, in place."""
    import torch

    k = best.shape[1]
    rows, found = (scores > best[:, -1:]).nonzero(as_tuple=True)
    if not len(rows):
        return
    counts = torch.bincount(rows, minlength=len(scores))
    # After the first blocks, most queries find nothing in a block.
    changed = counts.nonzero()[:, 0]
    widest = int(counts.max())
    starts = counts.cumsum(0) - counts
    places = torch.arange(len(rows), device=rows.device) - starts[rows]
    candidates = scores.new_full((len(scores), widest), -torch.inf)
    numbers = columns.new_full((len(scores), widest), NOBODY)
    candidates[rows, places] = scores[rows, found]
    numbers[rows, places] = found + begin
    both = torch.cat([best[changed], candidates[changed]], dim=1)
    names = torch.cat([columns[changed], numbers[changed]], dim=1)
    # Earlier documents come first, and a stable sort leaves ties as they are.
    ordered, order = both.sort(dim=1, descending=True, stable=True)
    best[changed] = ordered[:, :k]
    columns[changed] = names.gather(1, order[:, :k])


def _by_document(excluded: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return documents in order, and their queries."""
    documents = np.fromiter(excluded.values(), dtype=np.int64, count=len(excluded))
    queries = np.fromiter(excluded.keys(), dtype=np.int64, count=len(excluded))
    order = np.argsort(documents, kind="stable")
    return documents[order], queries[order]


def _between(own: tuple[NDArray[np.int64], NDArray[np.int64]], begin: int, end: int) -> list[tuple[int, int]]:
    """Return (document, query) of the excluded documents from ``begin`` to ``end``."""
    documents, queries = own
    first, last = np.searchsorted(documents, [begin, end])
    return list(zip(documents[first:last].tolist(), queries[first:last].tolist(), strict=True))


def _tensor(block: NDArray[np.float32]) -> Tensor:
    """Return a block as a tensor without a copy if it can be written to, which torch wants of arrays."""
    import torch

    return torch.from_numpy(block if block.flags.writeable else block.copy())
