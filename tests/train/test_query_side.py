"""Queries learn alone: the passages keep their vectors, and every passage of the pool is a negative."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import ExpertSpec
from stm_agent.errors import DataError
from stm_agent.evaluate.encoder import EncodesQueriesApart
from stm_agent.evaluate.scoring import ScoredTask, ScoringJob, read_scores
from stm_agent.files import read_json
from stm_agent.loop.evaluate_single import evaluate_model
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.export_job import ExportJob
from stm_agent.testing.tiny import tiny_collection
from stm_agent.train.query_side import QuerySideJob, query_rows

EXPERT = ExpertSpec(name="queries", sources=("train",), side="query", steps=40, learning_rate=0.02)


@pytest.fixture(scope="module")
def job(backbone, tmp_path_factory) -> QuerySideJob:
    from tests.train.conftest import SETTINGS

    data = judged_domain_data(tiny_collection())
    return QuerySideJob(
        expert=EXPERT,
        train=SETTINGS,
        backbone=backbone,
        documents=AdaptedModel(backbone),
        pairs=data.sources["train"],
        pool=data.pool,
        groups=data.groups,
        instruction=Instruction(),
        cache=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture(scope="module")
def trained(job: QuerySideJob, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    job.build(folder)
    return folder


def scored(model: AdaptedModel, folder: Path) -> float:
    collection = tiny_collection()
    task = ScoredTask("dev", collection.texts, collection.splits["dev"])
    folder.mkdir()
    ScoringJob(model, ((task, Instruction()),), folder / "cache").build(folder)
    return read_scores(folder)["dev"].ndcg_at_10


def two_sided(job: QuerySideJob, trained: Path) -> AdaptedModel:
    return replace(job.documents, queries=AdaptedModel(job.backbone, (trained / "adapter",), (1.0,)))


def test_queries_learn_to_find_fixed_passages(job, trained, tmp_path):
    losses = read_json(trained / "expert.json")["losses"]
    assert losses[-1] < losses[0] - 0.5
    model = two_sided(job, trained)
    assert scored(model, tmp_path / "after") > scored(job.documents, tmp_path / "before") + 0.1


def test_passages_keep_their_vectors(job, trained):
    encoder, before = two_sided(job, trained).open(), job.documents.open()
    assert isinstance(encoder, EncodesQueriesApart)
    texts = ["a finding of the knee"]
    assert encoder.identity == before.identity, "what the cache holds of passages stays valid"
    np.testing.assert_array_equal(encoder.encode(texts), before.encode(texts))
    assert not np.allclose(encoder.query_encoder.encode(texts), before.encode(texts), atol=1e-3)


def test_the_job_is_a_value_whose_key_follows_its_inputs(job):
    assert pickle.loads(pickle.dumps(job)).key() == job.key()  # noqa: S301 - our own bytes
    assert replace(job, seed=1).key() != job.key()
    quantised = job.train.model_copy(update={"qlora": True})
    assert replace(job, train=quantised).key() != job.key()
    assert replace(job, pool={**job.pool, "new": "one more passage"}).key() != job.key()
    renamed = replace(job, expert=EXPERT.model_copy(update={"name": "other"}))
    assert renamed.key() == job.key(), "a new name makes no new adapter"


def test_the_same_seed_gives_the_same_adapter(job, trained, tmp_path):
    job.build(tmp_path)
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


# mteb uses its own old names.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_exported_folder_is_the_model_that_was_scored(job, trained, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = two_sided(job, trained)
    ExportJob(model=model, prompts={"query": "", "document": ""}, card="a card").build(tmp_path / "export")
    folder = tmp_path / "export" / "model"
    plain = SentenceTransformer(str(folder), device="cpu")
    query, passage = plain.encode_query(["my knee is sore"]), plain.encode_document(["my knee is sore"])
    assert not np.allclose(query, passage, atol=1e-3)
    np.testing.assert_allclose(query, model.open().query_encoder.encode(["my knee is sore"]), atol=1e-5)
    recorded = scored(model, tmp_path / "scored")
    for engine in ("fast", "mteb"):
        ours = evaluate_model(str(folder), tiny_collection(), "dev", runs=tmp_path / "runs", engine=engine)
        assert ours["ndcg_at_10"] == pytest.approx(recorded, abs=1e-4), engine


def test_pairs_of_one_query_are_one_row_and_near_passages_are_no_negatives():
    pairs = tuple(Pair(f"q:{name}", "a question", text, "train", "q") for name, text in (("a", "A"), ("b", "B")))
    pool = {"a": "A", "b": "B", "c": "C", "d": "D"}
    (row,) = query_rows(pairs, pool, {"q": frozenset({"a", "b", "c"})})
    assert (row.positives, row.left_out) == ((0, 1), (2,))


def test_a_pair_whose_passage_is_not_in_the_corpus_uses_its_groups_passages():
    pairs = (Pair("s", "a sentence", "the rest of the passage", "sentences", "d1"),)
    (row,) = query_rows(pairs, {"d0": "other", "d1": "a sentence and the rest"}, {"d1": frozenset({"d1"})})
    assert row.positives == (1,)


def test_pairs_without_any_passage_are_refused_in_one_line():
    pairs = (Pair("s", "a query", "not in the corpus", "train", "g"),)
    with pytest.raises(DataError, match="needs pairs from it"):
        query_rows(pairs, {"d": "text"}, {})


def test_options_that_an_expert_of_queries_does_not_use_are_refused():
    with pytest.raises(ValueError, match="side query has no use for teacher_weight"):
        ExpertSpec(name="q", sources=("train",), side="query", steps=9, teacher_weight=1.0)
    with pytest.raises(ValueError, match="bag needs side query"):
        ExpertSpec(name="q", sources=("train",), steps=9, bag=True)
