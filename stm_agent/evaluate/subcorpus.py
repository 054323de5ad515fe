"""A part of a corpus on which trials are scored: judged documents, and those that are hard for some retriever.

Encoding a whole corpus for every trial would cost most of a search's time. Scores on the part are too high, but they
order trials nearly as the whole does as long as the documents that compete for the first ranks are in it. Whatever is
claimed, and every last choice, is scored on the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stm_agent.domain.collection import Split
from stm_agent.evaluate.metrics import Run
from stm_agent.files import sha256_text


def subcorpus(
    documents: Mapping[str, str], split: Split, runs: Iterable[Run], hard: int, *, size: int | None = None
) -> dict[str, str]:
    """Return the judged documents of a split and the ``hard`` best of every run for each query, in corpus order.

    Args:
        documents: The corpus.
        split: Queries and judgements that the part must serve.
        runs: Rankings of the split's queries; read only if the part is smaller than the corpus.
        hard: Documents that each run gives for each query.
        size: Documents wanted: hard ones are left out, or others added, by hash; judged ones always stay. 0: the whole
            corpus. None: as many as there are judged and hard ones.
    """
    if size is not None and (not size or len(documents) <= size):
        return dict(documents)
    judged = {document for grades in split.qrels.values() for document in grades}
    best = {
        document
        for run in runs
        for ranking in run.values()
        for document in sorted(ranking, key=lambda document: -ranking[document])[:hard]
    }
    chosen = judged | best
    if size is not None:
        order = sorted(documents, key=lambda name: (name not in judged, name not in best, sha256_text(name)))
        chosen = set(order[: max(size, len(judged))])
    return {name: text for name, text in documents.items() if name in chosen}
