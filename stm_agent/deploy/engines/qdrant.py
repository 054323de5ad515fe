"""Qdrant: a collection with dense vectors, and BM25 as sparse vectors whose IDF the server computes."""

from __future__ import annotations

import uuid
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stm_agent.deploy.engines.addresses import check_address
from stm_agent.deploy.engines.engine import IndexIdentity, Passage, engine_errors

if TYPE_CHECKING:
    from qdrant_client import models

DENSE, LEXICAL, MARK = "dense", "bm25", "stm_agent"
MEAN_WORDS = 100.0
"""Words of an ordinary passage; BM25's length normalisation needs a mean before all passages are seen."""


class Qdrant:
    """A collection of a server, or of a folder without a server.

    Attributes:
        exact: False if the server may search its HNSW graph.
    """

    def __init__(self, where: str, name: str, *, approximate: bool) -> None:
        """Connect; a server's key comes from ``QDRANT_API_KEY``.

        Args:
            where: Address of a server, or a folder.
            name: Name of the collection.
            approximate: Search the graph rather than all vectors.

        Raises:
            ConfigError: The URL cannot be used.
            StorageError: The server cannot be reached.
        """
        import os

        from qdrant_client import QdrantClient

        check_address(where, "QDRANT_API_KEY")
        self.name, self._remote = name, where.startswith(("http://", "https://"))
        self.exact = not (approximate and self._remote)
        with engine_errors("Qdrant", where, "start it, or give its --url (http://host:6333, or a folder)"):
            if self._remote:
                key = os.environ.get("QDRANT_API_KEY") or None
                self._client = QdrantClient(url=where, api_key=key, timeout=60, check_compatibility=False)
            else:
                Path(where).mkdir(parents=True, exist_ok=True)
                self._client = QdrantClient(path=where)
            self._client.get_collections()

    def stored(self) -> dict[str, str | int] | None:
        """Return the identity in the collection's metadata."""
        if not self._client.collection_exists(self.name):
            return None
        metadata = self._client.get_collection(self.name).config.metadata or {}
        return dict(metadata.get(MARK) or {})

    def create(self, identity: IndexIdentity, *, replace: bool) -> None:
        """Make the collection."""
        from qdrant_client import models

        if replace:
            self._client.delete_collection(self.name)
        self._client.create_collection(
            self.name,
            vectors_config={DENSE: models.VectorParams(size=identity.dimension, distance=models.Distance.DOT)},
            sparse_vectors_config={LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            metadata={MARK: identity.to_json()},
        )

    def written(self) -> int:
        """Return the number of points."""
        return self._client.count(self.name, exact=True).count

    def write(self, passages: Sequence[Passage]) -> None:
        """Put a batch; a point's id is made of its document's id."""
        from qdrant_client import models

        from stm_agent.domain.keywords import keywords

        words = keywords([f"{passage.title} {passage.text}".strip() for passage in passages])
        points = [
            models.PointStruct(
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, passage.document)),
                vector={DENSE: passage.vector.tolist(), LEXICAL: passage_words(tokens)},
                payload={"document": passage.document, "title": passage.title, "text": passage.text},
            )
            for passage, tokens in zip(passages, words, strict=True)
        ]
        self._client.upsert(self.name, points, wait=True)

    def finish(self) -> None:
        """Do nothing: the server indexes as points come in."""

    def search(self, vector: NDArray[np.float32], top: int) -> list[str]:
        """Return the nearest points by dot product."""
        from qdrant_client import models

        # A folder without a server is always searched exactly.
        options = models.SearchParams(exact=self.exact) if self._remote else None
        found = self._client.query_points(
            self.name, query=vector.tolist(), using=DENSE, limit=top, search_params=options, with_payload=["document"]
        )
        return [str((point.payload or {})["document"]) for point in found.points]

    def search_words(self, query: str, top: int) -> list[str]:
        """Return the best points by BM25."""
        found = self._client.query_points(
            self.name, query=query_words(query), using=LEXICAL, limit=top, with_payload=["document"]
        )
        return [str((point.payload or {})["document"]) for point in found.points]

    def close(self) -> None:
        """Close the client; a folder is free for another process then."""
        self._client.close()


def passage_words(tokens: Sequence[str]) -> models.SparseVector:
    """Return a passage's BM25 weights without IDF, by the number that each word has."""
    from qdrant_client import models

    from stm_agent.evaluate.bm25 import K1, B

    saturation = K1 * (1 - B + B * len(tokens) / MEAN_WORDS)
    counts = Counter(map(_number, tokens))
    values = [count * (K1 + 1) / (count + saturation) for count in counts.values()]
    return models.SparseVector(indices=list(counts), values=values)


def query_words(query: str) -> models.SparseVector:
    """Return a query's words, each with weight 1."""
    from qdrant_client import models

    from stm_agent.domain.keywords import keywords

    numbers = sorted(set(map(_number, keywords([query])[0])))
    return models.SparseVector(indices=numbers, values=[1.0] * len(numbers))


def _number(word: str) -> int:
    return zlib.crc32(word.encode())
