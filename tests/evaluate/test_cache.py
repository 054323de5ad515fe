"""A kept vector is the vector a fresh encode would give, for the very model and prefix asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stm_agent.errors import StopRequested
from stm_agent.evaluate.cache import PART, EmbeddingCache
from stm_agent.progress import watched_by


class Fake:
    def __init__(self, identity: str) -> None:
        self.identity, self.dimension, self.calls = identity, 4, 0

    def room(self, prefix: str) -> int | None:
        return None

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        self.calls += len(texts)
        rows = [hashlib.sha256(f"{self.identity}{prefix}{text}".encode()).digest()[:16] for text in texts]
        return np.frombuffer(b"".join(rows), dtype=np.uint32).reshape(-1, 4).astype(np.float32)


@pytest.mark.parametrize("prefix", ["", "find\nQuery: "])
@pytest.mark.parametrize("pooling", ["mean", "lasttoken"])
def test_two_models_two_instructions_two_poolings(prefix: str, pooling: str, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    texts = ["a", "b", "a", "c"]
    for other in ("", "find\nQuery: "):
        for name in ("one", "two"):
            for mode in ("mean", "lasttoken"):
                cache.encode(Fake(f"{name}-{mode}"), texts, prefix=other)
    for name in ("one", "two"):
        encoder = Fake(f"{name}-{pooling}")
        kept = EmbeddingCache(tmp_path).encode(encoder, texts, prefix=prefix)
        assert encoder.calls == 0
        assert np.array_equal(kept, Fake(f"{name}-{pooling}").encode(texts, prefix=prefix))


def test_only_new_texts_are_encoded(tmp_path: Path) -> None:
    encoder, cache = Fake("m"), EmbeddingCache(tmp_path)
    cache.encode(encoder, ["a", "b"])
    cache.encode(encoder, ["b", "c"])
    assert encoder.calls == 3
    assert (cache.hits, cache.misses) == (1, 3)
    assert cache.texts_per_second == 3 / cache.seconds


def test_what_is_missing_is_told_without_encoding(tmp_path: Path) -> None:
    encoder = Fake("m")
    EmbeddingCache(tmp_path).encode(encoder, ["a", "b"], prefix="x")
    cache = EmbeddingCache(tmp_path)
    assert cache.missing(encoder, ["c", "a", "c", "d"], prefix="x") == ["c", "d"]
    assert cache.missing(encoder, ["a"]) == ["a"], "without that prefix"
    assert encoder.calls == 2


def test_broken_shard_is_counted_and_encoded_again(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    wanted = cache.encode(Fake("m"), ["a", "b"])
    shard = next(tmp_path.rglob("*.npz"))
    shard.write_bytes(shard.read_bytes()[:40])
    again, encoder = EmbeddingCache(tmp_path), Fake("m")
    assert np.array_equal(again.encode(encoder, ["a", "b"]), wanted)
    assert (again.broken, encoder.calls) == (1, 2)


class StopAt:
    """Asks for a stop once a number of texts is encoded."""

    def __init__(self, number: int) -> None:
        self.number, self.seen = number, [0]

    def progress(self, name: str, text: str, done: int, total: int) -> None:
        self.seen.append(done)

    def stop_reason(self) -> str | None:
        return "stopped" if self.seen[-1] >= self.number else None


def test_a_stop_in_a_long_corpus_keeps_the_vectors_that_are_finished(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(3 * PART + 1)]
    encoder, watcher = Fake("m"), StopAt(2 * PART)
    with watched_by(watcher), pytest.raises(StopRequested):
        EmbeddingCache(tmp_path).encode(encoder, texts)
    assert watcher.seen == [0, PART, 2 * PART]
    again = Fake("m")
    vectors = EmbeddingCache(tmp_path).encode(again, texts)
    assert again.calls == PART + 1
    assert np.array_equal(vectors, Fake("m").encode(texts))
