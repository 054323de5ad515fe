"""Search over a run's corpus while the server runs: dense, BM25, or both fused with the run's weight."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.deploy.batching import Batcher, Closed
from stm_agent.deploy.product import CORPUS
from stm_agent.deploy.served import ServedModel, Vectors
from stm_agent.deploy.wire import Refused, SearchRequest
from stm_agent.errors import StmAgentError, first_line

if TYPE_CHECKING:
    from stm_agent.evaluate.bm25 import Bm25Index
    from stm_agent.evaluate.vectors import CorpusVectors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """One passage of a ranking; the score is a cosine, a BM25 score, or of a fused ranking a number in [0, 1]."""

    document: str
    score: float


class _ThroughQueue:
    """The passages' encoder behind a model's queue, as an :class:`~stm_agent.evaluate.encoder.Encoder`.

    One thread alone may use a tokenizer, and clients take turns with the corpus.
    """

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.identity, self.dimension = batcher.model.encoder.identity, batcher.model.dimension
        self.vector_format = batcher.model.encoder.vector_format

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> Vectors:
        # The prefix is the model's own, which decides the key of the cache; the queue adds it.
        vectors = self.batcher.submit([("passage", text) for text in texts], counted=False).result().vectors
        return vectors

    def room(self, prefix: str) -> int | None:
        return self.batcher.model.encoder.room(prefix)


class CorpusSearch:
    """A corpus that is searched by every model of a server; it is indexed in a thread of its own.

    Attributes:
        texts: Document id -> text, once they are read.
        state: ``indexing``, ``ready`` or ``failed``.
        reason: What is being done, or what failed.
    """

    def __init__(self, run: Path, batchers: Mapping[str, Batcher]) -> None:
        """Begin to index the corpus of a run for each model; vectors that the run stored are read."""
        self.run, self.batchers = run, batchers
        self.texts: dict[str, str] = {}
        self.state, self.reason = "indexing", "reading the corpus"
        self._lexical: Bm25Index | None = None
        self._vectors: dict[str, CorpusVectors] = {}
        self._thread = threading.Thread(target=self._index, name="index", daemon=True)
        self._thread.start()

    def _index(self) -> None:
        from stm_agent.domain.beir import read_beir
        from stm_agent.evaluate.bm25 import Bm25Index
        from stm_agent.evaluate.cache import EmbeddingCache
        from stm_agent.evaluate.corpus import encode_corpus

        try:
            self.texts = dict(read_beir(self.run / CORPUS).texts)
            self._lexical = Bm25Index(self.texts)
            cache = EmbeddingCache(self.run.parent / ".cache" / "vectors")
            for name, batcher in self.batchers.items():
                self.reason = f"encoding {len(self.texts):,} passages with {name}"
                passages = list(self.texts.values())
                prefix = batcher.model.prefixes["passage"]
                self._vectors[name] = encode_corpus(cache, _ThroughQueue(batcher), passages, prefix=prefix)
            self.state, self.reason = "ready", ""
        except (CancelledError, Closed):
            self.reason = "the server is stopping"
        except StmAgentError as error:
            self.state, self.reason = "failed", str(error)
            logger.error("the corpus cannot be searched: %s", error)
        except Exception as error:  # the thread has no caller, and embeddings are served without a corpus
            self.state, self.reason = "failed", first_line(error)
            logger.exception("the corpus cannot be searched")

    def wait(self) -> None:
        """Return when the corpus is indexed, or cannot be."""
        self._thread.join()

    def search(self, request: SearchRequest, model: ServedModel) -> list[Hit]:
        """Return the best passages for a query, best first.

        Raises:
            Refused: The corpus is not indexed yet, or the model has no weight to fuse with.
            QueueFull: Too many texts wait for the model.
        """
        from stm_agent.evaluate.scoring import DEPTH

        if not request.query.strip():
            raise Refused(400, "the query is empty; type the words to search for", param="query")
        depth = max(request.top, DEPTH)
        if request.mode == "bm25":
            return _best(self._words(request.query, depth), request.top)
        near = self._near(request.query, model, depth)
        if request.mode == "dense":
            return _best(near, request.top)
        weight = model.product.fusion_weight
        if weight is None:
            reason = f"{model.name} has no weight for BM25, which a run chooses on dev; use mode dense or bm25"
            raise Refused(400, reason, param="mode")
        from stm_agent.evaluate.fusion import fused_scores

        return _best(fused_scores(near, self._words(request.query, depth), weight), request.top)

    def _words(self, query: str, depth: int) -> dict[str, float]:
        if self._lexical is None:
            raise self._not_ready()
        return self._lexical.run({"query": query}, depth)["query"]

    def _near(self, query: str, model: ServedModel, depth: int) -> dict[str, float]:
        from stm_agent.evaluate.ranking import rank

        passages = self._vectors.get(model.name)
        if passages is None:
            raise self._not_ready()
        vector = self.batchers[model.name].submit([("query", query)]).result().vectors
        return rank(["query"], vector, list(self.texts), passages, k=depth)["query"]

    def _not_ready(self) -> Refused:
        if self.state == "failed":
            return Refused(503, f"the corpus cannot be searched: {self.reason}", code="index_failed")
        return Refused(
            503,
            f"the corpus is not indexed yet ({self.reason}); try again in a moment",
            code="indexing",
            headers={"retry-after": "2"},
        )


def _best(scores: Mapping[str, float], top: int) -> list[Hit]:
    ranked = sorted(scores.items(), key=lambda item: -item[1])[:top]
    return [Hit(document, score) for document, score in ranked]
