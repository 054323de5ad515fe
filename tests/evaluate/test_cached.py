"""Kept vectors are a fresh encode's, bit for bit, and mteb scores them as it scores the model itself."""

from __future__ import annotations

import numpy as np
import pytest

from stm_agent.backbone.encoder import TextEncoder
from stm_agent.backbone.load import load_backbone
from stm_agent.domain.spec import BackboneSpec
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.cached import corpus_task, score_with_mteb
from stm_agent.evaluate.metrics import score
from stm_agent.evaluate.ranking import rank
from stm_agent.evaluate.tasks import evaluate_with_mteb, mteb_task
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_collection

PREFIXES = ("", "Find the finding.\nQuery: ")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    made = {}
    for seed in (0, 1):
        folder = pico_decoder(tmp_path_factory.mktemp(f"pico{seed}"), seed=seed)
        for pooling in ("mean", "lasttoken"):
            spec = BackboneSpec(model=str(folder), max_length=32, pooling=pooling)
            made[seed, pooling] = TextEncoder(load_backbone(spec))
    return made


def test_two_models_two_instructions_two_poolings_bit_for_bit(encoders, tmp_path):
    texts = list(tiny_collection().texts.values())
    for encoder in encoders.values():
        for prefix in PREFIXES:
            EmbeddingCache(tmp_path).encode(encoder, texts, prefix=prefix)
    kept = EmbeddingCache(tmp_path)
    for encoder in encoders.values():
        for prefix in PREFIXES:
            assert np.array_equal(kept.encode(encoder, texts, prefix=prefix), encoder.encode(texts, prefix=prefix))
    assert kept.misses == 0
    assert len({encoder.identity for encoder in encoders.values()}) == 4


# mteb reads a model by names that have changed.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("prefix", PREFIXES)
def test_mteb_gives_the_same_number_by_vectors_as_by_the_model_and_as_the_fast_scorer(encoders, prefix, tmp_path):
    encoder, collection = encoders[0, "mean"], tiny_collection()
    dev = collection.splits["dev"]
    task = corpus_task(collection.texts, dev)
    by_vectors = score_with_mteb(encoder, EmbeddingCache(tmp_path), task, query_prefix=prefix, passage_prefix="")
    encoder.model.prompts = {"query": prefix, "document": ""}
    by_model = evaluate_with_mteb(encoder.model, mteb_task(collection, "dev"))["ndcg_at_10"]
    queries = encoder.encode(list(dev.queries.values()), prefix=prefix)
    passages = encoder.encode(list(collection.texts.values()))
    fast = score(rank(list(dev.queries), queries, list(collection.texts), passages), dev.qrels).ndcg_at_10
    assert by_vectors == pytest.approx(by_model, abs=1e-5)
    assert by_vectors == pytest.approx(fast, abs=1e-5)
