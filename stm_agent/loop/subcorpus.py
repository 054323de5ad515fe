"""The part of the corpus that levers search on: judged documents, those that are hard, and a random rest.

Encoding the whole corpus for every trial would cost most of a run's time. Metrics over the part are higher than over
the whole, but order models nearly as the whole does, since the documents that compete for the first ranks are in it
(a sampled corpus with hard negatives, as in Thakur et al. 2025, arXiv 2504.20859, or NanoBEIR). What is claimed is
always measured over the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stm_agent.domain.collection import Split
from stm_agent.evaluate.baselines import bm25_run
from stm_agent.files import sha256_text

HARD = 20
"""Documents that each retriever contributes for each query."""

DenseHits = Callable[[Split, int], set[str]]
"""Returns the documents that an encoder ranks first, for a split and a depth."""


def searched_documents(
    documents: Mapping[str, str], split: Split, limit: int, dense: DenseHits | None = None
) -> dict[str, str]:
    """Return about ``limit`` documents, in the order of the corpus; all of them if there are no more, or for 0.

    Judged documents are always included, then those that BM25 and the encoder rank first, then others by hash.

    Args:
        documents: The whole corpus.
        split: Queries and judgements that the part must serve.
        limit: Documents wanted; 0: all.
        dense: What an encoder ranks first; None: BM25 alone.
    """
    if not limit or len(documents) <= limit:
        return dict(documents)
    judged = {document for grades in split.qrels.values() for document in grades}
    hard = {document for hits in bm25_run(documents, split.queries, HARD).values() for document in hits}
    if dense is not None:
        hard |= dense(split, HARD)
    order = sorted(documents, key=lambda name: (name not in judged, name not in hard, sha256_text(name)))
    chosen = frozenset(order[: max(limit, len(judged))])
    return {name: text for name, text in documents.items() if name in chosen}
