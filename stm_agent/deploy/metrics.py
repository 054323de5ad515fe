"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests by route and status", "route", "status")
        self.texts = self._counter("texts", "Texts that were encoded for clients", "model", "input_type")
        self.tokens = self._counter("tokens", "Tokens of these texts that the model read", "model")
        self.truncated = self._counter("truncated_texts", "Texts longer than the model's window", "model")
        self.seconds = self._histogram("request_seconds", "Time from request to answer", SECONDS, "route")
        self.batch_texts = self._histogram("batch_texts", "Texts encoded at once", TEXTS, "model")
        self.batch_seconds = self._histogram("batch_seconds", "Time to encode a batch", SECONDS, "model")
        self.waiting = Gauge(
            "stm_agent_waiting_texts", "Texts that wait for a batch", ["model"], registry=self.registry
        )

    def watch(self, model: str) -> Callable[[int, float], None]:
        """Return what gets the texts and the seconds of every batch of a model."""
        texts, seconds = self.batch_texts.labels(model), self.batch_seconds.labels(model)

        def batch(count: int, elapsed: float) -> None:
            texts.observe(count)
            seconds.observe(elapsed)

        return batch

    def render(self) -> bytes:
        """Return all counters in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"stm_agent_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"stm_agent_{name}", text, labels, buckets=buckets, registry=self.registry)
