"""Large corpora: shards are written whole, found again, verified, and searched without loading them all."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.backbone_spec import BackboneSpec, VectorFormat
from stm_agent.domain.collection import Split
from stm_agent.errors import ConfigError, StopRequested, StorageError
from stm_agent.evaluate import corpus as corpora
from stm_agent.evaluate import shards
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.corpus import encode_corpus, storage_line, stored_as
from stm_agent.evaluate.scoring import dense_run
from stm_agent.evaluate.shards import BYTES, NumberFormat, ShardedVectors, write_shard
from stm_agent.evaluate.vectors import ArrayVectors
from stm_agent.progress import watched_by

TEXTS = [f"passage {number}" for number in range(95)]


class Hashed:
    """Unit vectors of 12 numbers that a text's hash decides."""

    identity, dimension = "hashed", 12

    def __init__(self, vectors: VectorFormat = "float16") -> None:
        self.vector_format, self.calls = vectors, 0

    def room(self, prefix: str) -> int | None:
        return None

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        self.calls += len(texts)
        digests = [hashlib.sha384((prefix + text).encode()).digest() for text in texts]
        rows = np.frombuffer(b"".join(digests), dtype="<i4").reshape(len(texts), 12).astype(np.float64)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "SHARD", 20)
    monkeypatch.setattr(corpora, "PART", 8)
    monkeypatch.setattr(corpora, "LARGE", 100)
    corpora._tell.cache_clear()


def sharded(folder: Path, encoder: Hashed, texts: Sequence[str] = TEXTS) -> ShardedVectors:
    vectors = encode_corpus(EmbeddingCache(folder), encoder, texts, prefix="p: ")
    assert isinstance(vectors, ShardedVectors)
    return vectors


@pytest.mark.parametrize(("number_format", "off"), [("float32", 0.0), ("float16", 5e-4), ("int8", 0.02)])
def test_what_is_stored_is_what_was_encoded_but_for_rounding(
    number_format: NumberFormat, off: float, tmp_path: Path
) -> None:
    exact = Hashed().encode(TEXTS, prefix="p: ")
    # A format's own limit is above everything here, so only the encoder's wish puts float32 into shards.
    paths = [shards.shard_path(tmp_path, TEXTS[begin : begin + 40], number_format) for begin in (0, 40, 80)]
    for number, path in enumerate(paths):
        write_shard(path, exact[40 * number : 40 * number + 40], number_format)
    sizes = [40, 40, 15]
    read = [shards.read_shard(path, number_format, (size, 12)) for path, size in zip(paths, sizes, strict=True)]
    vectors = ShardedVectors(tuple(read))
    assert vectors.shape == (95, 12)
    assert vectors.off <= off
    whole = np.concatenate([block for _, block in vectors.blocks()])
    assert whole.dtype == np.float32
    assert np.linalg.norm(whole - exact, axis=1).max() == pytest.approx(vectors.off, abs=1e-7)
    assert np.array_equal(vectors.take([94, 0, 41, 40, 94]), whole[[94, 0, 41, 40, 94]])
    assert paths[0].stat().st_size < 40 * (12 * BYTES[number_format] + 4) + 400


def test_a_corpus_is_encoded_once_and_found_again(tmp_path: Path) -> None:
    first = sharded(tmp_path, Hashed())
    again = Hashed()
    second = sharded(tmp_path, again)
    assert again.calls == 0
    assert np.array_equal(first.take(range(95)), second.take(range(95)))
    longer = Hashed()
    sharded(tmp_path, longer, [*TEXTS, "one more"])
    assert longer.calls == 16, "the last shard, which has other texts"
    repeated = Hashed("int8")
    cache = EmbeddingCache(tmp_path)
    encode_corpus(cache, repeated, ["same"] * 30 + ["other"])
    assert (repeated.calls, cache.misses, cache.hits) == (3, 3, 28), "distinct texts of each shard"


def test_parts_of_a_small_corpus_in_another_format_are_not_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpora, "LARGE", 2**30)
    encoder = Hashed("int8")
    whole, part = sharded(tmp_path, encoder), sharded(tmp_path, encoder, TEXTS[10:50])
    assert encoder.calls == 95
    assert np.array_equal(whole.take(range(10, 50)), part.take(range(40)))


class StopAfter:
    def __init__(self, texts: int) -> None:
        self.texts, self.seen = texts, 0

    def progress(self, name: str, text: str, done: int, total: int) -> None:
        self.seen = done

    def stop_reason(self) -> str | None:
        return "stopped" if self.seen >= self.texts else None


def test_an_encoding_that_was_stopped_resumes_at_the_next_shard(tmp_path: Path) -> None:
    encoder = Hashed()
    with watched_by(StopAfter(48)), pytest.raises(StopRequested):
        sharded(tmp_path, encoder)
    assert encoder.calls == 48, "two shards, and a part of the third"
    again = Hashed()
    vectors = sharded(tmp_path, again)
    assert again.calls == 55
    assert np.array_equal(vectors.take(range(95)), sharded(tmp_path / "elsewhere", Hashed()).take(range(95)))


@pytest.mark.parametrize("fault", ["cut", "flipped", "header", "empty", "missing", "other"])
def test_a_damaged_or_missing_shard_is_named_and_encoded_again(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = sharded(tmp_path, Hashed()).take(range(95))
    victim = shards.shard_path(next(tmp_path.iterdir()), TEXTS[20:40], "float16")
    content = victim.read_bytes()
    damaged = {
        "cut": content[:-30],
        "flipped": content[:-30] + bytes([content[-30] ^ 1]) + content[-29:],
        "header": b"\xff" * 40 + content[40:],
        "empty": b"",
        "other": shards.shard_path(victim.parent.parent, TEXTS[80:], "float16").read_bytes(),
    }
    victim.unlink() if fault == "missing" else victim.write_bytes(damaged[fault])
    encoder, cache = Hashed(), EmbeddingCache(tmp_path)
    with caplog.at_level(logging.WARNING):
        vectors = encode_corpus(cache, encoder, TEXTS, prefix="p: ")
    assert encoder.calls == 20
    assert np.array_equal(vectors.take(range(95)), wanted)
    assert cache.broken == (fault != "missing")
    assert (victim.name in caplog.text) == (fault != "missing")


def test_a_shard_that_vanishes_while_it_is_searched_is_one_line(tmp_path: Path) -> None:
    vectors = sharded(tmp_path, Hashed())
    vectors.shards[2].path.unlink()
    with pytest.raises(StorageError, match=vectors.shards[2].path.name):
        list(vectors.blocks())


def test_a_full_disk_is_one_line_and_leaves_no_half_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        sharded(tmp_path, Hashed())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_unknown_number_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float32, float16, int8"):
        write_shard(tmp_path / "x", np.ones((1, 2), dtype=np.float32), "int4")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="float16"):
        BackboneSpec(model="m", vectors="int4")  # type: ignore[arg-type]


def test_the_size_decides_and_the_screen_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(corpora, "LARGE", 2**30)
    assert stored_as(699_050, 384) is None
    assert stored_as(699_051, 384) == "float16"
    assert stored_as(699_051, 384, "float32") == "float32"
    assert stored_as(10, 384, "float32") is None
    assert stored_as(10, 384, "int8") == "int8"
    assert storage_line(10, 384) == ""
    assert storage_line(1_200_000, 384).startswith("vectors in float16: 1.2 million passages, 0.86 GiB")
    assert isinstance(encode_corpus(EmbeddingCache(tmp_path), Hashed("auto"), TEXTS), ArrayVectors)
    monkeypatch.setattr(corpora, "LARGE", 95 * 12 * 4 - 1)
    with caplog.at_level(logging.WARNING):
        assert isinstance(encode_corpus(EmbeddingCache(tmp_path), Hashed("auto"), TEXTS), ShardedVectors)
        encode_corpus(EmbeddingCache(tmp_path), Hashed("auto"), TEXTS)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["vectors in float16"] * 2
    assert "changes a cosine by" in caplog.records[1].message


def test_scoring_on_shards_is_scoring_in_memory_but_for_rounding(tmp_path: Path) -> None:
    documents = dict(zip(TEXTS, TEXTS, strict=True))
    split = Split("dev", {"q": "find", "passage 3": "find too"}, {"q": {"passage 1": 1}})
    exact = dense_run(EmbeddingCache(tmp_path), Hashed("float32"), documents, split, Instruction(), 10)
    stored = dense_run(EmbeddingCache(tmp_path), Hashed("float16"), documents, split, Instruction(), 10)
    for query, hits in exact.items():
        assert stored[query] == pytest.approx(hits, abs=1e-3)
