"""Write a corpus with its vectors into a vector store, in batches that can be resumed, and check what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from stm_agent.deploy.engines.addresses import redacted
from stm_agent.deploy.engines.engine import Engine, IndexIdentity, Passage, check_continues
from stm_agent.deploy.product import CORPUS, Product
from stm_agent.domain.beir import read_beir
from stm_agent.domain.collection import Collection
from stm_agent.errors import CheckFailed, ConfigError
from stm_agent.files import content_hash
from stm_agent.progress import report

if TYPE_CHECKING:
    from stm_agent.deploy.served import ServedModel
    from stm_agent.evaluate.vectors import CorpusVectors

ENGINES = ("pgvector", "qdrant", "opensearch", "faiss")
CHECKED, TOP = 50, 10
"""Queries whose first passages are compared with exact search, and how many passages of each."""
TIE = 1e-5
"""Difference of cosines below which two passages are ties: engines add up in another order."""


class IndexReport(TypedDict):
    """What an index has, and what was checked; ``where`` has no password."""

    engine: str
    where: str
    name: str
    model_sha256: str
    passages: int
    dimension: int
    resumed_from: int
    checked_queries: int
    top10_equal: float


@dataclass(frozen=True, kw_only=True)
class IndexTarget:
    """Where an index is written.

    Attributes:
        engine: One of :data:`ENGINES`.
        where: Address or folder of the engine.
        name: Table, collection, index or folder.
        approximate: Let the engine search a graph, which is faster for more than about 100,000 passages.
        replace: Remove an index of that name first, if this program wrote it.
    """

    engine: str
    where: str
    name: str
    approximate: bool = False
    replace: bool = False

    def open(self) -> Engine:
        """Connect.

        Raises:
            StorageError: The engine cannot be reached.
        """
        from stm_agent.deploy.engines.faiss import FaissFolder
        from stm_agent.deploy.engines.opensearch import OpenSearchIndex
        from stm_agent.deploy.engines.pgvector import PgVector
        from stm_agent.deploy.engines.qdrant import Qdrant

        if self.engine == "pgvector":
            return PgVector(self.where, self.name, approximate=self.approximate)
        if self.engine == "qdrant":
            return Qdrant(self.where, self.name, approximate=self.approximate)
        if self.engine == "opensearch":
            return OpenSearchIndex(self.where, self.name, approximate=self.approximate)
        return FaissFolder(self.where, self.name, approximate=self.approximate)


def corpus_of(product: Product, folder: Path | None) -> Collection:
    """Return the corpus to index: that of a BEIR folder, else the run's own.

    Raises:
        ConfigError: The model has no run, and no folder is given.
        DataError: The folder cannot be read.
    """
    if folder is None and product.run is None:
        raise ConfigError(f"{product.name} has no run, so no corpus; give --corpus FOLDER")
    return read_beir(folder or Path(str(product.run)) / CORPUS)


def write_index(
    product: Product, collection: Collection, target: IndexTarget, *, batch: int, cache: Path | None
) -> IndexReport:
    """Write every passage of a corpus with its vector; a call that was stopped is continued.

    Args:
        product: The model.
        collection: The corpus; the queries of its dev split check the index.
        target: Where to write.
        batch: Passages of a batch.
        cache: Folder of stored vectors; None: every passage is encoded.

    Raises:
        ConfigError: An index of that name is there, of something else.
        StorageError: The engine cannot be reached, or a disk is full.
        CheckFailed: An engine that searches exactly finds other passages than exact search.
        StopRequested: A stop was asked for between two batches.
    """
    from stm_agent.deploy.engines.engine import engine_errors

    engine = target.open()
    try:
        with engine_errors(target.engine, target.where, "run the same command again to continue"):
            return _write(engine, product, collection, target, batch, cache)
    finally:
        engine.close()


def _write(
    engine: Engine, product: Product, collection: Collection, target: IndexTarget, batch: int, cache: Path | None
) -> IndexReport:
    from stm_agent.deploy.served import ServedModel

    corpus = content_hash([[document.id, document.title, document.text] for document in collection.documents])
    model = ServedModel(product)
    identity = IndexIdentity(product.sha256, corpus, model.dimension, len(collection.documents))
    continues = check_continues(engine.stored(), identity, target.name, replace=target.replace)
    if not continues:
        engine.create(identity, replace=target.replace)
    # A batch that a killed process left half-written is written again.
    begin = engine.written() // batch * batch
    documents = collection.documents
    vectors = _passages(model, [document.full for document in documents], cache)
    for at in range(begin, len(documents), batch):
        rows = documents[at : at + batch]
        encoded = vectors.take(range(at, at + len(rows)))
        engine.write([Passage(row.id, row.title, row.text, vector) for row, vector in zip(rows, encoded, strict=True)])
        report("index", "passages", min(at + batch, len(documents)), len(documents))
    engine.finish()
    checked, equal = _check(engine, collection, vectors, _queries(model, collection, cache))
    return {
        "engine": target.engine,
        "where": redacted(target.where),
        "name": target.name,
        "model_sha256": product.sha256,
        "passages": engine.written(),
        "dimension": model.dimension,
        "resumed_from": begin if continues else 0,
        "checked_queries": checked,
        "top10_equal": equal,
    }


def _passages(model: ServedModel, texts: Sequence[str], cache: Path | None) -> CorpusVectors:
    """Return the vectors of passages as the run ranks them: stored ones, in its shards if the corpus is large."""
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.evaluate.corpus import encode_corpus

    stored = EmbeddingCache(cache) if cache else None
    return encode_corpus(stored, model.encoder, texts, prefix=model.prefixes["passage"])


def _queries(model: ServedModel, collection: Collection, cache: Path | None) -> NDArray[np.float32]:
    """Return the vectors of the queries that check an index; without a split, the first passages are the queries."""
    from stm_agent.evaluate.cache import EmbeddingCache, encode_queries

    split = collection.splits.get("dev") or next(iter(collection.splits.values()), None)
    texts = list(split.queries.values()) if split else [row.full for row in collection.documents[:CHECKED]]
    stored = EmbeddingCache(cache) if cache else None
    return encode_queries(stored, model.encoder, texts[:CHECKED], prefix=model.prefixes["query"])


def _check(
    engine: Engine, collection: Collection, vectors: CorpusVectors, queries: NDArray[np.float32]
) -> tuple[int, float]:
    """Compare the engine with exact search; return the queries compared and the share of equal first passages."""
    from stm_agent.evaluate.ranking import rank

    rows = {document.id: row for row, document in enumerate(collection.documents)}
    exact = rank([str(number) for number in range(len(queries))], queries, list(rows), vectors, k=TOP)
    equal = 0
    for number, query in enumerate(queries):
        found, scores = engine.search(query, TOP), exact[str(number)]
        ties = [name for name in found if name in rows and name not in scores]
        near = vectors.take([rows[name] for name in ties]) @ query
        equal += equal_but_for_ties(found, {**scores, **dict(zip(ties, near.tolist(), strict=True))})
    share = equal / max(len(queries), 1)
    if engine.exact and share < 1:
        raise CheckFailed("index", share, "the index finds other passages than exact search; write it again: --replace")
    return len(queries), share


def equal_but_for_ties(found: Sequence[str], scores: Mapping[str, float], top: int = TOP) -> bool:
    """Return whether passages are the ``top`` best by their exact scores, where ties may take each other's place."""
    best = sorted(scores.values(), reverse=True)[:top]
    if len(found) != len(best) or len(set(found)) != len(found):
        return False
    return all(abs(scores.get(name, -2.0) - score) <= TIE for name, score in zip(found, best, strict=True))
