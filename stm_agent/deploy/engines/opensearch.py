"""OpenSearch: an index with a k-NN vector, and BM25 on title and text."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stm_agent.deploy.engines.addresses import check_address
from stm_agent.deploy.engines.engine import IndexIdentity, Passage, engine_errors
from stm_agent.errors import ConfigError, StorageError
from stm_agent.evaluate.bm25 import K1, B

MARK = "stm_agent"


class OpenSearchIndex:
    """An index of a cluster.

    Attributes:
        exact: False if its HNSW graph is searched; otherwise every vector is scored by a script.
    """

    def __init__(self, url: str, name: str, *, approximate: bool) -> None:
        """Connect; user and password come from ``OPENSEARCH_USER`` and ``OPENSEARCH_PASSWORD``.

        Raises:
            ConfigError: The index's name or the URL cannot be used.
            StorageError: The cluster cannot be reached.
        """
        from opensearchpy import OpenSearch

        # A name with * or , would stand for several indexes.
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,254}", name):
            raise ConfigError(
                f"'{name}' cannot name an index: lower-case letters, digits, . _ and -; give another --name"
            )
        check_address(url, "OPENSEARCH_PASSWORD")
        self.name, self.exact = name, not approximate
        user = os.environ.get("OPENSEARCH_USER", "admin")
        password = os.environ.get("OPENSEARCH_PASSWORD")
        with engine_errors("OpenSearch", url, "start it, or give its --url (https://host:9200)"):
            self._client: Any = OpenSearch(
                url, http_auth=(user, password) if password else None, timeout=60, max_retries=3
            )
            self._client.info()

    def stored(self) -> dict[str, str | int] | None:
        """Return the identity in the mapping's metadata."""
        if not self._client.indices.exists(index=self.name):
            return None
        (mapping,) = self._client.indices.get_mapping(index=self.name).values()
        return dict(mapping["mappings"].get("_meta", {}).get(MARK) or {})

    def create(self, identity: IndexIdentity, *, replace: bool) -> None:
        """Make the index."""
        if replace:
            self._client.indices.delete(index=self.name, ignore_unavailable=True)
        vector: dict[str, object] = {"type": "knn_vector", "dimension": identity.dimension}
        if not self.exact:
            vector["method"] = {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"}
        words = {"type": "text", "analyzer": "english", "similarity": "own_bm25"}
        properties = {"document": {"type": "keyword"}, "title": words, "text": words, "embedding": vector}
        settings = {"similarity": {"own_bm25": {"type": "BM25", "k1": K1, "b": B}}, "knn": not self.exact}
        body = {
            "settings": {"index": settings},
            "mappings": {"_meta": {MARK: identity.to_json()}, "properties": properties},
        }
        self._client.indices.create(index=self.name, body=body)

    def written(self) -> int:
        """Return the number of documents."""
        self._client.indices.refresh(index=self.name)
        return int(self._client.count(index=self.name)["count"])

    def write(self, passages: Sequence[Passage]) -> None:
        """Put a batch by its ids.

        Raises:
            StorageError: The cluster refused a passage.
        """
        lines: list[dict[str, object]] = []
        for passage in passages:
            lines.append({"index": {"_index": self.name, "_id": passage.document}})
            about = {"document": passage.document, "title": passage.title, "text": passage.text}
            lines.append({**about, "embedding": passage.vector.tolist()})
        answer = self._client.bulk(body=lines)
        refused = [item["index"] for item in answer["items"] if "error" in item["index"]]
        if refused:
            reason = refused[0]["error"].get("reason", "no reason")
            raise StorageError(f"OpenSearch refused {len(refused)} passages, such as '{refused[0]['_id']}': {reason}")

    def finish(self) -> None:
        """Make what was written visible to search."""
        self._client.indices.refresh(index=self.name)

    def search(self, vector: NDArray[np.float32], top: int) -> list[str]:
        """Return the nearest documents by inner product."""
        query: dict[str, object] = {"knn": {"embedding": {"vector": vector.tolist(), "k": top}}}
        if self.exact:
            script = {
                "source": "knn_score",
                "lang": "knn",
                "params": {"field": "embedding", "query_value": vector.tolist(), "space_type": "innerproduct"},
            }
            query = {"script_score": {"query": {"match_all": {}}, "script": script}}
        found = self._client.search(index=self.name, body={"size": top, "query": query, "_source": ["document"]})
        return [hit["_source"]["document"] for hit in found["hits"]["hits"]]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
