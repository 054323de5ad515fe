"""Queries learn alone: the passages keep their vectors, and every passage of the pool is a negative."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.errors import DataError
from stm_agent.evaluate.encoder import EncodesQueriesApart
from stm_agent.evaluate.scoring import ScoredTask, ScoringJob, read_scores
from stm_agent.files import read_json
from stm_agent.loop.evaluate_single import evaluate_model
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.export_job import ExportJob
from stm_agent.mine.lists import Candidate, ScoredList
from stm_agent.testing.tiny import tiny_collection
from stm_agent.train.query_rows import QueryRow, query_rows, taught_rows
from stm_agent.train.query_side import NO_SCORES, QuerySideJob, _losses

EXPERT = ExpertSpec(name="queries", sources=("train",), side="query", steps=40, learning_rate=0.02)


@pytest.fixture(scope="module")
def job(backbone, tmp_path_factory) -> QuerySideJob:
    from tests.train.conftest import query_side_job

    return query_side_job(backbone, tmp_path_factory.mktemp("cache"), EXPERT)


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

    # Passages that are cut get equal vectors, whose order rounding decides.
    whole = job.backbone.model_copy(update={"max_length": 64})
    model = two_sided(replace(job, backbone=whole, documents=AdaptedModel(whole)), trained)
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


def taught(job: QuerySideJob, **scores: float) -> QuerySideJob:
    """The job with a teacher that gives every positive 1, and three other passages of each pair the same scores."""
    names = list(job.pool)
    lists = {}
    for number, pair in enumerate(job.pairs[:-1]):
        others = [name for name in names[number % 7 :: 9] if name not in job.groups[pair.group]][:3]
        candidates = tuple(Candidate(job.pool[name], name, scores.get("other", 0.5)) for name in others)
        lists[pair.id] = ScoredList(1.0, candidates)
    return replace(job, lists=lists, expert=EXPERT.model_copy(update={"loss": "distil", **DISTILS}))


DISTILS = {"gold": 0.1}


def test_queries_learn_a_teachers_scores(job, tmp_path):
    distilling = taught(job)
    assert distilling.key() != job.key() != replace(job, lists=distilling.lists).key()
    assert distilling.key() != taught(job, other=0.4).key()
    cooler = distilling.train.model_copy(update={"teacher_temperature": 0.01})
    assert replace(distilling, train=cooler).key() != distilling.key()
    distilling.build(tmp_path)
    about = read_json(tmp_path / "expert.json")
    assert about["skipped"] == {NO_SCORES: 1}
    assert about["rows"] == len(job.pairs) - 1
    assert np.mean(about["losses"][-5:]) < np.mean(about["losses"][:5]) - 0.1
    assert scored(two_sided(job, tmp_path), tmp_path / "after") > scored(job.documents, tmp_path / "before")


def test_the_loss_of_a_taught_query_is_the_distance_to_its_teacher_and_a_share_of_infonce(job):
    import torch

    train = job.train.model_copy(update={"teacher_temperature": 0.5, "infonce_share": 0.25})
    model = job.documents.open().model
    passages = torch.nn.functional.normalize(torch.randn(5, model.get_embedding_dimension()), dim=1)
    row = QueryRow("my knee is sore", (0,), (4,), {0: 1.0, 1: 0.5, 3: 0.0})
    (loss,) = _losses(model, [row], passages, "", train)
    query = torch.from_numpy(job.documents.open().encode([row.text]))[0]
    logits = train.scale * passages @ query
    teacher = torch.softmax(torch.tensor([1.0, 0.5, 0.0]) / 0.5, dim=0)
    student = torch.log_softmax(logits[[0, 1, 3]], dim=0)
    infonce = torch.logsumexp(logits[:4], dim=0) - logits[0]
    wanted = (teacher * (teacher.log() - student)).sum() + 0.25 * infonce
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-3)


def test_scores_of_passages_outside_the_pool_and_near_the_query_are_left_out():
    pairs = tuple(Pair(f"q:{name}", "a question", text, "train", "q") for name, text in (("a", "A"), ("b", "B")))
    pairs += (Pair("r", "another", "C", "train", "r"),)
    candidates = (Candidate("B", "b", 0.9), Candidate("D", "d", 0.2), Candidate("gone", "g", 0.1))
    lists = {"q:a": ScoredList(0.8, candidates), "q:b": ScoredList(0.6, (Candidate("E", "another id", 0.3),))}
    pool = {name: name.upper() for name in "abcde"}
    (row,) = taught_rows(query_rows(pairs, pool, {"q": frozenset({"a", "b"})}, lists, gold=0.1))
    assert row.scores == pytest.approx({0: 0.9, 3: 0.2, 1: 0.7, 4: 0.3}), "of its positives and of no false negative"
    with pytest.raises(ValueError, match="side query has loss infonce or distil, not margin"):
        ExpertSpec(name="q", sources=("train",), side="query", steps=1, loss="margin", negatives={"mined": 1})


def test_pairs_without_any_passage_are_refused_in_one_line():
    pairs = (Pair("s", "a query", "not in the corpus", "train", "g"),)
    with pytest.raises(DataError, match="needs pairs from it"):
        query_rows(pairs, {"d": "text"}, {})


def test_options_that_an_expert_of_queries_does_not_use_are_refused():
    with pytest.raises(ValueError, match="side query has no use for teacher_weight"):
        ExpertSpec(name="q", sources=("train",), side="query", steps=9, teacher_weight=1.0)
    with pytest.raises(ValueError, match="bag needs side query"):
        ExpertSpec(name="q", sources=("train",), steps=9, bag=True)
