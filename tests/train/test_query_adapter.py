"""The query adapter: a map that moves queries only, and that refuses itself."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from stm_agent.backbone.encoder import TextEncoder
from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.query_map import add_query_map, mapped, query_map_of
from stm_agent.domain.collection import Split
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import QueryAdapterSpec
from stm_agent.errors import BackboneError, StorageError
from stm_agent.evaluate.baselines import ReadyModel
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.query_mapped import QueryAdapted, load_map, save_map
from stm_agent.evaluate.scoring import score_split
from stm_agent.files import read_json
from stm_agent.testing.pico import pico_checkpoint
from stm_agent.train.query_adapter import QueryAdapterJob, is_accepted
from stm_agent.train.query_fit import ONE_SIDED, QueryTask, fit_query_map

SPEC = QueryAdapterSpec(rank=8, epochs=10, learning_rate=0.01, depth=10, folds=3, fewest=10)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def task_of(disturb, seed=0):
    """120 queries, each near its passage; ``disturb`` moves the queries."""
    random = np.random.default_rng(seed)
    passages = unit(random.normal(size=(120, 16)))
    queries = unit(disturb(passages + 0.1 * random.normal(size=passages.shape), random))
    return QueryTask(
        queries=queries,
        passages=passages,
        relevant=[frozenset({row}) for row in range(120)],
        ignored=[frozenset()] * 120,
        groups=[f"group {row // 2}" for row in range(120)],
    )


def test_a_shift_that_all_queries_share_is_learnt():
    def shift(queries, random):
        return queries + 4 * queries[:, :1] * random.normal(size=(1, 16))

    fitted = fit_query_map(task_of(shift), SPEC, 0)
    assert fitted.accepted
    assert fitted.gain > 0.1 > fitted.error
    assert np.linalg.matrix_rank(fitted.matrix, tol=1e-4) <= 8
    assert np.array_equal(fitted.matrix, fit_query_map(task_of(shift), SPEC, 0).matrix)


def test_worthless_maps_are_refused():
    """One in twenty may pass; a choice of the best epoch by the score that is reported would let most pass."""

    def noise(queries, random):
        return queries + 0.25 * random.normal(size=queries.shape)

    worthless = [fit_query_map(task_of(noise, seed), SPEC, 0) for seed in range(5)]
    refused = [fitted for fitted in worthless if not fitted.accepted]
    assert len(refused) >= 4
    assert not any(fitted.matrix.any() for fitted in refused)


def test_ignored_passages_count_neither_way():
    plain = task_of(lambda queries, random: queries)
    twins = np.concatenate([plain.queries, plain.passages])
    task = QueryTask(
        queries=plain.queries,
        passages=twins,
        relevant=[frozenset({120 + row}) for row in range(120)],
        # Each query is itself the first passage of its ranking.
        ignored=[frozenset({row}) for row in range(120)],
        groups=plain.groups,
    )
    row = task.ndcg([3], plain.queries[[3]])
    assert row == pytest.approx([1.0])


@dataclass(frozen=True)
class Fixed:
    """A model source that counts what it encodes."""

    folder: str

    def source_key(self):
        return ["fixed", self.folder]

    def open(self):
        return ReadyModel(self.folder).open()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return pico_checkpoint(tmp_path_factory.mktemp("pico"), prompts={"query": "ask: ", "document": ""})


WORDS = ("heart", "knee", "water", "dog", "mountain", "fox", "blood", "heat", "body", "passage", "lazy", "swelling")
POOL = {word: f"{word} is what this passage answers" for word in WORDS}
PAIRS = tuple(Pair(word, f"about the {word}", POOL[word], "train", word) for word in WORDS)


def job_of(checkpoint, tmp_path, **options):
    given = {"spec": SPEC, "pairs": PAIRS, **options}
    return QueryAdapterJob(
        pool=POOL, groups={}, model=Fixed(str(checkpoint)), instruction=Instruction(), cache=tmp_path / "c", **given
    )


def test_the_job_writes_a_map_and_what_it_gained(checkpoint, tmp_path):
    pairs = (*PAIRS, Pair("x", "not there", "a text outside", "train", "x"))
    pickle.loads(pickle.dumps(job_of(checkpoint, tmp_path, pairs=pairs))).build(tmp_path)  # noqa: S301 - our own value
    about = read_json(tmp_path / "query_adapter.json")
    assert about["queries"] == 12
    assert about["left_out"] == {"pairs whose positive is not in the pool": 1}
    assert is_accepted(tmp_path) == about["accepted"] == (about["gain"] > ONE_SIDED * about["error"])
    assert load_map(tmp_path).any() == about["accepted"]
    assert job_of(checkpoint, tmp_path).key() != job_of(checkpoint, tmp_path, seed=1).key()


def test_too_few_queries_leave_the_identity(checkpoint, tmp_path):
    job_of(checkpoint, tmp_path, pairs=PAIRS[:3]).build(tmp_path)
    assert read_json(tmp_path / "query_adapter.json")["reason"] == "fewer than 10 queries"
    assert not is_accepted(tmp_path)
    assert not load_map(tmp_path).any()


def test_a_new_map_encodes_nothing_again(checkpoint, tmp_path):
    judged = Split("dev", {word: f"about the {word}" for word in WORDS}, {word: {word: 1} for word in WORDS})
    cache, source = EmbeddingCache(tmp_path / "vectors"), Fixed(str(checkpoint))
    plain = score_split(cache, source.open(), POOL, judged, Instruction())
    save_map(np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32), tmp_path)
    encoded, adapted = cache.misses, QueryAdapted(source, tmp_path)
    moved = score_split(cache, adapted.open(), POOL, judged, Instruction())
    assert cache.misses == encoded
    assert moved.per_query != plain.per_query
    assert adapted.source_key() != source.source_key()


def test_the_exported_model_moves_queries_only(checkpoint, tmp_path):
    matrix = np.random.default_rng(1).normal(size=(32, 32)).astype(np.float32) / 6
    model, plain = SentenceTransformer(str(checkpoint)), SentenceTransformer(str(checkpoint))
    add_query_map(model, matrix)
    model.save(str(tmp_path / "mapped"), create_model_card=False)
    loaded = SentenceTransformer(str(tmp_path / "mapped"))
    texts = ["about the knee", "what is water"]
    documents = plain.encode_document(texts, normalize_embeddings=True)
    assert np.allclose(loaded.encode_document(texts), documents, atol=1e-5)
    assert np.allclose(loaded.encode(texts), documents, atol=1e-5)
    queries = mapped(plain.encode_query(texts, normalize_embeddings=True), matrix)
    assert np.allclose(loaded.encode_query(texts), queries, atol=1e-5)
    assert np.allclose(query_map_of(loaded), matrix)
    encoder = TextEncoder(loaded)
    assert np.allclose(encoder.map_queries(encoder.encode(texts, prefix="ask: ")), queries, atol=1e-5)
    assert query_map_of(plain) is None


def test_a_map_that_does_not_fit_is_named(checkpoint, tmp_path):
    model = SentenceTransformer(str(checkpoint))
    with pytest.raises(BackboneError, match="for 8 dimensions, the model has 32"):
        add_query_map(model, np.zeros((8, 8), np.float32))
    add_query_map(model, np.zeros((32, 32), np.float32))
    with pytest.raises(BackboneError, match="has a query map already"):
        add_query_map(model, np.zeros((32, 32), np.float32))
    with pytest.raises(StorageError, match="holds no query map"):
        load_map(tmp_path)
