"""Search over blocks of documents finds what the whole matrix of scores has, ties included."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from stm_agent.errors import ConfigError, StopRequested
from stm_agent.evaluate import approximate, ranking
from stm_agent.evaluate.approximate import approximate_top_k
from stm_agent.evaluate.ranking import rank
from stm_agent.evaluate.search import top_k
from stm_agent.evaluate.vectors import ArrayVectors, as_vectors
from stm_agent.progress import watched_by


def unit(count: int, dimension: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


class Pieces(ArrayVectors):
    """Vectors in blocks of a few rows."""

    rows = 70

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for begin in range(0, len(self.array), self.rows):
            yield begin, self.array[begin : begin + self.rows]


QUERIES, DOCUMENTS = unit(40, 16, 1), unit(1000, 16, 2)


@pytest.mark.parametrize("k", [1, 10, 100, 1000, 2000])
def test_blocks_find_what_one_product_finds(k: int) -> None:
    scores, columns = top_k(QUERIES, Pieces(DOCUMENTS), k)
    whole = QUERIES @ DOCUMENTS.T
    wanted = np.argsort(-whole, axis=1, kind="stable")[:, :k]
    assert np.array_equal(columns, wanted)
    assert np.allclose(scores, np.take_along_axis(whole, wanted, axis=1), atol=1e-6)


def test_faiss_finds_the_same() -> None:
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatIP(16)
    index.add(DOCUMENTS)
    theirs, rows = index.search(QUERIES, 50)
    scores, columns = top_k(QUERIES, Pieces(DOCUMENTS), 50)
    assert np.array_equal(columns, rows)
    assert np.allclose(scores, theirs, atol=1e-6)


def test_ties_keep_the_order_of_the_corpus_at_the_last_rank_too() -> None:
    # Every document four times, in far blocks; small whole numbers, so that equal scores are equal to the last bit.
    quarter = np.random.default_rng(0).integers(-3, 4, size=(150, 8)).astype(np.float32)
    documents, queries = np.tile(quarter, (4, 1)), quarter[:20]
    for k in (1, 2, 3, 5, 30):
        _, columns = top_k(queries, Pieces(documents), k)
        assert np.array_equal(columns, np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :k])


def test_a_query_never_finds_its_own_document() -> None:
    excluded = {query: query * 3 for query in range(40)}
    _, columns = top_k(QUERIES, Pieces(DOCUMENTS), 1000, excluded)
    assert (columns[:, -1] == -1).all()
    assert all(query * 3 not in row for query, row in enumerate(columns.tolist()))


def test_a_large_corpus_is_ranked_as_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"d{number}" for number in range(1000)]
    asked = [f"d{number}" if number < 5 else f"q{number}" for number in range(40)]
    at_once = rank(asked, QUERIES, names, DOCUMENTS, k=20, ignored_ids={"d0", "d1", "d2", "d3", "d4"})
    monkeypatch.setattr(ranking, "SMALL", 0)
    in_blocks = rank(asked, QUERIES, names, DOCUMENTS, k=20, ignored_ids={"d0", "d1", "d2", "d3", "d4"})
    assert list(at_once) == list(in_blocks)
    for query, hits in at_once.items():
        assert query not in hits
        assert in_blocks[query] == pytest.approx(hits, abs=1e-6)


def test_vectors_and_arrays_are_ranked_alike_bit_for_bit() -> None:
    names = [f"d{number}" for number in range(1000)]
    asked = [str(number) for number in range(40)]
    assert rank(asked, QUERIES, names, DOCUMENTS) == rank(asked, QUERIES, names, as_vectors(DOCUMENTS))


def test_a_corpus_without_documents_finds_nothing() -> None:
    assert rank(["q"], QUERIES[:1], [], as_vectors(DOCUMENTS[:0])) == {"q": {}}
    scores, columns = top_k(QUERIES, Pieces(DOCUMENTS), 0)
    assert (scores.shape, columns.shape) == ((40, 0), (40, 0))


def test_a_stop_is_obeyed_between_two_blocks() -> None:
    class Stop:
        def progress(self, name: str, text: str, done: int, total: int) -> None:
            pass

        def stop_reason(self) -> str:
            return "enough"

    with watched_by(Stop()), pytest.raises(StopRequested, match="enough"):
        top_k(QUERIES, Pieces(DOCUMENTS), 10)


def test_vectors_of_single_documents() -> None:
    assert np.array_equal(as_vectors(DOCUMENTS).take([3, 1, 3, 999]), DOCUMENTS[[3, 1, 3, 999]])


def test_faiss_may_miss_candidates_and_says_how_many(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("faiss")
    scores, columns = approximate_top_k(QUERIES, Pieces(DOCUMENTS), 10)
    exact, wanted = top_k(QUERIES, Pieces(DOCUMENTS), 10)
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(columns.tolist(), wanted.tolist(), strict=True)])
    assert found > 0.9
    assert f"FAISS finds {found:.1%} of the exact first 10 passages of 40 queries" in caplog.text
    assert np.abs(scores[:, 0] - exact[:, 0]).max() < 1e-2
    monkeypatch.setattr(approximate, "LOOKED_INTO", 1)
    _, columns = approximate_top_k(QUERIES, Pieces(DOCUMENTS), 10)
    assert np.array_equal(columns, wanted), "too few were found, so all are searched exactly"
    assert "searched exactly, which takes longer" in caplog.text


def test_faiss_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install .stm-agent\[faiss\]"):
        approximate_top_k(QUERIES, Pieces(DOCUMENTS), 10)
