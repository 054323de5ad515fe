"""What a server does, without HTTP: models by name, embeddings, search, thumbs, health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from stm_agent.deploy.batching import Batcher, Encoded
from stm_agent.deploy.metrics import Metrics
from stm_agent.deploy.product import Product
from stm_agent.deploy.searching import CorpusSearch
from stm_agent.deploy.served import InputType, ServedModel
from stm_agent.deploy.thumbs import Thumbs
from stm_agent.deploy.wire import (
    SUFFIXES,
    EmbeddingsRequest,
    FoundPassage,
    JudgementRequest,
    Refused,
    SearchAnswer,
    SearchRequest,
    check_dimensions,
    side_of,
    texts_of,
)
from stm_agent.errors import ConfigError

CAPACITY = 4096
"""Largest number of texts that wait for a model, unless another is asked for."""
CLIENT_LEFT = 499
"""Status that nginx gives to a request whose client has gone; the metrics count it."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How a server works.

    Attributes:
        capacity: Largest number of texts that wait for a model; more are answered with 429.
        default_input_type: What texts are if a request does not say so; None: it must, unless the model encodes
            queries and passages alike.
    """

    capacity: int = CAPACITY
    default_input_type: InputType | None = None


class Service:
    """Models behind their queues, the corpus of the first one's run, and the thumbs.

    Attributes:
        metrics: Counters.
        search: Search over the run's corpus; None: the first model has no run.
    """

    def __init__(self, products: Sequence[Product], workspace: Path, options: ServeOptions) -> None:
        """Load the models and begin to index the corpus of the first one's run.

        Raises:
            BackboneError: A model cannot be loaded.
            ConfigError: Two models have one name.
        """
        names = [product.name for product in products]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"two models are named '{twice}'; serve one of them from a folder of another name")
        self.options, self.metrics = options, Metrics()
        self.models = {product.name: ServedModel(product) for product in products}
        self._started = int(time.time())
        self._batchers = {
            name: Batcher(model, capacity=options.capacity, watch=self.metrics.watch(name))
            for name, model in self.models.items()
        }
        run = products[0].run
        self.search = CorpusSearch(run, self._batchers) if run else None
        self._thumbs = Thumbs(workspace, run.name) if run else None

    def close(self) -> None:
        """Encode what is queued, then end all threads."""
        for batcher in self._batchers.values():
            batcher.close()

    def named(self, name: str) -> tuple[ServedModel, InputType | None]:
        """Return the model that a client asks for, and the input type that its suffix states.

        Raises:
            Refused: No served model has that name.
        """
        if name in self.models:
            return self.models[name], None
        for suffix, side in SUFFIXES.items():
            if name.endswith(suffix) and name.removesuffix(suffix) in self.models:
                return self.models[name.removesuffix(suffix)], side
        known = ", ".join(self.models)
        raise Refused(404, f"model '{name}' is not served; there is {known}", param="model", code="model_not_found")

    async def embed(self, request: EmbeddingsRequest, left: Callable[[], Awaitable[None]]) -> tuple[str, Encoded]:
        """Return the model's name and the vectors of a request.

        Args:
            request: The request.
            left: Returns when the client has gone; its texts that wait then are not encoded.

        Raises:
            Refused: The request cannot be fulfilled as it is, or its client has gone.
            QueueFull: Too many texts wait.
        """
        model, suffix = self.named(request.model)
        texts = texts_of(request)
        check_dimensions(request, model)
        side = side_of(request, suffix, model, self.options.default_input_type)
        if len(texts) > self.options.capacity:
            reason = f"input has {len(texts)} texts, {self.options.capacity} may wait here; send it in parts"
            raise Refused(400, reason, param="input")
        future = self._batchers[model.name].submit([(side, text) for text in texts])
        encoded = await _result_for(future, left)
        self.metrics.texts.labels(model.name, side).inc(len(texts))
        self.metrics.tokens.labels(model.name).inc(encoded.tokens)
        self.metrics.truncated.labels(model.name).inc(encoded.truncated)
        return model.name, encoded

    def find(self, request: SearchRequest) -> SearchAnswer:
        """Return the best passages for a query, with the thumbs that they have.

        Raises:
            Refused: The corpus or the model is missing, or the index is not ready.
        """
        search, thumbs = self._corpus()
        model = self.named(request.model)[0] if request.model else next(iter(self.models.values()))
        started = time.monotonic()
        hits = search.search(request, model)
        judged = thumbs.of_query(request.query)
        rows: list[FoundPassage] = [
            {
                "rank": rank,
                "document": hit.document,
                "score": hit.score,
                "text": search.texts[hit.document],
                "relevant": judged.get(hit.document),
            }
            for rank, hit in enumerate(hits, 1)
        ]
        seconds = round(time.monotonic() - started, 4)
        return {"model": model.name, "mode": request.mode, "hits": rows, "seconds": seconds}

    def judge(self, request: JudgementRequest) -> int:
        """Store a thumb; return how many there are.

        Raises:
            Refused: The corpus has no such document.
            StorageError: The file cannot be written.
        """
        search, thumbs = self._corpus()
        text = search.texts.get(request.document)
        if text is None:
            raise Refused(404, f"the corpus has no document '{request.document}'", param="document", code="not_found")
        return thumbs.put(
            query=request.query,
            document=request.document,
            text=text,
            relevant=request.relevant,
            seen_in=request.seen_in,
        )

    def _corpus(self) -> tuple[CorpusSearch, Thumbs]:
        if self.search is None or self._thumbs is None:
            raise Refused(404, "this server has no corpus; serve a run", code="not_found")
        return self.search, self._thumbs

    def models_body(self) -> dict[str, object]:
        """Return the models in OpenAI's shape, each with its content hash and the score it was proved with."""
        rows = [
            {
                "id": model.name,
                "object": "model",
                "created": self._started,
                "owned_by": "stm-agent",
                "sha256": model.product.sha256,
                "source_sha256": model.product.source_sha256,
                "proved_dev_ndcg_at_10": model.product.proved_dev,
                "dimensions": list(model.dimensions),
                "max_tokens": model.max_tokens,
                "needs_input_type": model.asymmetric and self.options.default_input_type is None,
                "modes": self._modes(model),
            }
            for model in self.models.values()
        ]
        return {"object": "list", "data": rows}

    def _modes(self, model: ServedModel) -> list[str]:
        if self.search is None:
            return []
        return ["dense", "bm25", *(["fused"] if model.product.fusion_weight is not None else [])]

    def health(self) -> dict[str, object]:
        """Return whether requests are answered (``failed``: models that are not), and whether the corpus is indexed."""
        failed = [name for name, batcher in self._batchers.items() if not batcher.alive]
        waiting = {name: batcher.waiting for name, batcher in self._batchers.items()}
        search = {"state": self.search.state, "reason": self.search.reason} if self.search else None
        status = "failed" if failed else "ok"
        models = list(self.models)
        return {"status": status, "models": models, "failed": failed, "waiting_texts": waiting, "search": search}

    def render_metrics(self) -> bytes:
        """Return all counters in Prometheus' text format."""
        for name, batcher in self._batchers.items():
            self.metrics.waiting.labels(name).set(batcher.waiting)
        return self.metrics.render()


async def _result_for(future: Future[Encoded], left: Callable[[], Awaitable[None]]) -> Encoded:
    """Return a result; cancel it if the client that waits for it leaves."""

    async def cancel_when_left() -> None:
        await left()
        future.cancel()

    watching = asyncio.ensure_future(cancel_when_left())
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if not watching.done():
            # The server is stopping.
            raise
        raise Refused(CLIENT_LEFT, "the client closed the connection", code="client_left") from None
    finally:
        watching.cancel()
