"""Approximate top-k by FAISS (extra ``faiss``), for mining in corpora above a million; its recall is measured.

Passages are put into cells around centres (an inverted file), in float16; a query looks into the cells whose centres
are nearest. Mining only needs candidates, so it may miss some. Scores that are claimed never come from here.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stm_agent.errors import ConfigError
from stm_agent.evaluate.search import top_k
from stm_agent.evaluate.vectors import CorpusVectors
from stm_agent.progress import safe_point

logger = logging.getLogger(__name__)
CELLS_PER_ROOT = 4
"""Cells for each unit of the square root of the number of passages, as the library's documentation advises."""
TRAINED_ON = 64
"""Passages for each cell from which the centres are computed."""
LOOKED_INTO = 64
"""Cells that a query looks into, at most."""
CHECKED = 100
"""Queries that are also searched exactly, to measure the recall."""
LEAST_RECALL = 0.9
"""Share of the exact first passages below which the exact search is used for all queries."""
QUERIES = 4096
"""Queries searched between two safe points."""


def approximate_top_k(
    queries: NDArray[np.float32], vectors: CorpusVectors, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and numbers of about the ``k`` nearest documents of each query, as :func:`top_k` does.

    Some queries are searched exactly too. The share that was found is logged; if it is below :data:`LEAST_RECALL`, the
    exact search answers all of them.

    Raises:
        ConfigError: FAISS is not installed.
        StopRequested: A stop was asked for.
    """
    index = _index(vectors)
    k = min(k, vectors.shape[0])
    rows = np.unique(np.linspace(0, len(queries) - 1, min(CHECKED, len(queries))).astype(np.int64))
    _, exact = top_k(queries[rows], vectors, k)
    _, found = index.search(queries[rows], k)
    recall = float(np.mean([len(set(a) & set(b)) / k for a, b in zip(exact.tolist(), found.tolist(), strict=True)]))
    line = f"FAISS finds {recall:.1%} of the exact first {k} passages of {len(rows)} queries"
    if recall < LEAST_RECALL:
        logger.warning("%s; all are searched exactly, which takes longer", line)
        return top_k(queries, vectors, k)
    logger.warning("%s", line)
    parts = []
    for begin in range(0, len(queries), QUERIES):
        safe_point()
        parts.append(index.search(queries[begin : begin + QUERIES], k))
    scores, columns = (np.concatenate([part[number] for part in parts]) for number in range(2))
    return np.where(columns < 0, -np.inf, scores).astype(np.float32), columns


def _index(vectors: CorpusVectors) -> Any:  # noqa: ANN401 - FAISS has no types
    try:
        import faiss
    except ImportError as error:
        raise ConfigError('mine: search: faiss needs FAISS; pip install "stm-agent[faiss]"') from error
    documents, dimension = vectors.shape
    cells = max(1, round(CELLS_PER_ROOT * documents**0.5))
    drawn = np.random.default_rng(0).permutation(documents)[: TRAINED_ON * cells]
    centres = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFScalarQuantizer(
        centres, dimension, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    # With few passages FAISS warns on its standard error that centres have few points each.
    index.cp.min_points_per_centroid = 1
    index.train(vectors.take(np.sort(drawn).tolist()))
    for _, block in vectors.blocks():
        safe_point()
        index.add(block)
    index.nprobe = min(LOOKED_INTO, cells)
    return index
