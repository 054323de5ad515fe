"""Dynamic batching: what arrives while a batch is computed is the next batch.

Nothing waits for a batch to fill, so a lone client pays nothing. Every request gives a share of its texts to each
batch: a request with one text does not wait for one with two thousand.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from stm_agent.deploy.served import InputType, ServedModel, Vectors
from stm_agent.errors import StmAgentError

logger = logging.getLogger(__name__)

BATCH_TEXTS = 64
"""Largest number of texts that are encoded at once."""


class QueueFull(StmAgentError):
    """Raised when more texts wait than the queue may hold."""


class Closed(StmAgentError):
    """Raised when the server is stopping and takes no more texts."""


@dataclass(frozen=True)
class Encoded:
    """Result of a request.

    Attributes:
        vectors: ``[texts, dimension]`` float32, L2-normalised.
        tokens: Tokens of all texts that the model read.
        truncated: Texts that were longer than the model's window.
    """

    vectors: Vectors
    tokens: int
    truncated: int


@dataclass(eq=False)
class _Request:
    texts: Sequence[tuple[InputType, str]]
    future: Future[Encoded]
    counted: bool
    sent: int = 0
    parts: list[Vectors] = field(default_factory=list)
    tokens: int = 0
    truncated: int = 0

    @property
    def left(self) -> int:
        return len(self.texts) - self.sent


class Batcher:
    """One thread that encodes for one model; a bounded queue in front of it.

    Attributes:
        model: The model.
        capacity: Largest number of texts that wait.
    """

    def __init__(
        self,
        model: ServedModel,
        *,
        capacity: int,
        batch_texts: int = BATCH_TEXTS,
        watch: Callable[[int, float], None] = lambda texts, seconds: None,
    ) -> None:
        """Start the thread; ``watch`` gets the number of texts of every batch and the seconds it took."""
        self.model, self.capacity = model, capacity
        self._batch_texts, self._watch = batch_texts, watch
        self._requests: deque[_Request] = deque()
        self._waiting, self._closed = 0, False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"encode {model.name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Texts of clients that wait for a batch now."""
        return self._waiting

    def submit(self, texts: Sequence[tuple[InputType, str]], *, counted: bool = True) -> Future[Encoded]:
        """Queue texts.

        Args:
            texts: Queries and passages, at least one.
            counted: Whether they take room in the queue; work of the server itself does not.

        Raises:
            QueueFull: The queue has no room for them.
            Closed: The server is stopping.
        """
        request = _Request(texts, Future(), counted)
        with self._changed:
            if self._closed:
                raise Closed("the server is stopping")
            if counted:
                if self._waiting + len(texts) > self.capacity:
                    raise QueueFull(f"{self._waiting} texts are waiting, {self.capacity} may wait; try again later")
                self._waiting += len(texts)
            self._requests.append(request)
            self._changed.notify()
        return request.future

    def close(self) -> None:
        """Encode what is queued, then end the thread; the server's own work that is left is cancelled."""
        with self._changed:
            self._closed = True
            for request in [request for request in self._requests if not request.counted]:
                self._requests.remove(request)
                request.future.cancel()
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether texts are encoded; it is false once the thread has ended."""
        return self._thread.is_alive()

    def _work(self) -> None:
        try:
            while shares := self._next():
                self._encode(shares)
        finally:
            # After a fault nobody would answer the clients that wait, nor those to come.
            with self._changed:
                self._closed = True
                waiting = list(self._requests)
            self._fail(waiting, Closed(f"{self.model.name} stopped; its server's log says why"))

    def _encode(self, shares: list[tuple[_Request, int]]) -> None:
        texts = [text for request, share in shares for text in request.texts[request.sent - share : request.sent]]
        started = monotonic()
        try:
            vectors, tokens = self.model.encode(texts), self.model.tokens(texts)
            self._deliver(shares, vectors, tokens)
            self._watch(len(texts), monotonic() - started)
        except Exception as error:  # whatever a model or a counter raises belongs to the requests, and the thread lives
            logger.exception("a batch of %s failed", self.model.name)
            self._fail([request for request, _ in shares], error)

    def _next(self) -> list[tuple[_Request, int]]:
        """Wait for requests; return those of the next batch, with the number of texts of each. Empty: closed."""
        with self._changed:
            self._drop_cancelled()
            while not self._requests and not self._closed:
                self._changed.wait()
                self._drop_cancelled()
            shares: dict[_Request, int] = {}
            room = self._batch_texts
            fair = max(1, room // max(len(self._requests), 1))
            # First a share for each request in turn, then what room is left for the oldest.
            for most in (fair, room):
                for request in self._requests:
                    share = min(most, request.left - shares.get(request, 0), room)
                    if share > 0:
                        shares[request] = shares.get(request, 0) + share
                        room -= share
            for request, share in shares.items():
                request.sent += share
                self._waiting -= share if request.counted else 0
                self._requests.remove(request)
                if request.left:
                    # Behind the others: many large requests cannot keep a small one waiting.
                    self._requests.append(request)
            return list(shares.items())

    def _drop_cancelled(self) -> None:
        for request in [request for request in self._requests if request.future.cancelled()]:
            self._requests.remove(request)
            self._waiting -= request.left if request.counted else 0

    def _deliver(self, shares: list[tuple[_Request, int]], vectors: Vectors, tokens: list[int]) -> None:
        total = sum(share for _, share in shares)
        if len(vectors) != total or len(tokens) != total:
            raise ValueError(f"{total} texts gave {len(vectors)} vectors and {len(tokens)} counts of tokens")
        begin, most = 0, self.model.max_tokens
        for request, share in shares:
            request.parts.append(vectors[begin : begin + share])
            for count in tokens[begin : begin + share]:
                request.tokens += count if most is None else min(count, most)
                request.truncated += most is not None and count > most
            begin += share
            if not request.left:
                encoded = Encoded(np.concatenate(request.parts), request.tokens, request.truncated)
                if request.future.set_running_or_notify_cancel():
                    request.future.set_result(encoded)

    def _fail(self, requests: list[_Request], error: BaseException) -> None:
        with self._changed:
            for request in requests:
                if request in self._requests:
                    self._requests.remove(request)
                    self._waiting -= request.left if request.counted else 0
        for request in requests:
            # Requests before the one that failed may have their answer.
            if not request.future.done() and request.future.set_running_or_notify_cancel():
                request.future.set_exception(error)
