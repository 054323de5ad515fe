"""A map on query vectors: passages stay as they are, held-out groups decide, and the export is what was scored."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.opened import open_model
from stm_agent.domain.data import Pair
from stm_agent.domain.sources import judged_domain_data
from stm_agent.evaluate.encoder import EncodesQueriesApart
from stm_agent.evaluate.scoring import ScoredTask, ScoringJob, read_scores
from stm_agent.files import read_json
from stm_agent.loop.evaluate_single import evaluate_model
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.export_job import SIDES, ExportJob
from stm_agent.testing.tiny import tiny_collection
from stm_agent.train.query_map import FOLDS, RESULT, QueryMapJob, folds_of
from stm_agent.train.query_rows import QueryRow

QUERY = ["my knee is sore"]


@pytest.fixture(scope="module")
def job(backbone, tmp_path_factory) -> QueryMapJob:
    data = judged_domain_data(tiny_collection())
    return QueryMapJob(
        # Longer than the passages: cut ones would have the same vectors, and their order would be one of rounding.
        model=AdaptedModel(backbone.model_copy(update={"max_length": 64})),
        pairs=data.sources["train"],
        pool=data.pool,
        groups=data.groups,
        instruction=Instruction(),
        steps=400,
        folds=0,
        cache=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture(scope="module")
def mapped(job: QueryMapJob, tmp_path_factory) -> AdaptedModel:
    folder = tmp_path_factory.mktemp("trained")
    job.build(folder)
    return replace(AdaptedModel(job.model.backbone), query_map=folder / "map")


def scored(model: AdaptedModel, folder: Path) -> float:
    collection = tiny_collection()
    task = ScoredTask("dev", collection.texts, collection.splits["dev"])
    folder.mkdir()
    ScoringJob(model, ((task, Instruction()),), folder / "cache").build(folder)
    return read_scores(folder)["dev"].ndcg_at_10


def test_queries_find_more_and_passages_keep_their_vectors(job, mapped, tmp_path):
    encoder, before = mapped.open(), job.model.open()
    assert isinstance(encoder, EncodesQueriesApart)
    assert encoder.identity == before.identity, "what the cache holds of passages stays valid"
    np.testing.assert_array_equal(encoder.encode(QUERY), before.encode(QUERY))
    assert not np.allclose(encoder.query_encoder.encode(QUERY), before.encode(QUERY), atol=1e-3)
    assert scored(mapped, tmp_path / "after") > scored(job.model, tmp_path / "before") + 0.1


def test_the_job_is_a_value_whose_key_follows_its_inputs(job, mapped, tmp_path):
    assert pickle.loads(pickle.dumps(job)).key() == job.key()  # noqa: S301 - our own bytes
    keys = {replace(job, **change).key() for change in ({}, {"seed": 1}, {"folds": 2}, {"steps": 5})}
    assert len(keys) == 4
    job.build(tmp_path)
    name = "map.safetensors"
    assert (tmp_path / "map" / name).read_bytes() == (mapped.query_map / name).read_bytes()
    assert mapped.source_key() != mapped.unmapped.source_key() == AdaptedModel(mapped.backbone).source_key()
    assert mapped.documents.query_map is None


def test_the_exported_folder_maps_queries_alone_with_plain_modules(mapped, tmp_path):
    from sentence_transformers import SentenceTransformer

    ExportJob(model=mapped, prompts={"query": "", "document": ""}, card="a card").build(tmp_path / "export")
    folder = tmp_path / "export" / "model"
    plain, ours = SentenceTransformer(str(folder), device="cpu"), mapped.open()
    np.testing.assert_allclose(plain.encode_query(QUERY), ours.query_encoder.encode(QUERY), atol=1e-5)
    np.testing.assert_allclose(plain.encode_document(QUERY), ours.encode(QUERY), atol=1e-5)
    assert read_json(folder / SIDES) == {"passages": "start", "tokens": 64}
    types = read_json(folder / "router_config.json")["types"] if (folder / "router_config.json").is_file() else {}
    assert all(kind.startswith("sentence_transformers.") for kind in types.values())
    opened = open_model(str(folder))
    np.testing.assert_allclose(opened.encoder.query_encoder.encode(QUERY), plain.encode_query(QUERY), atol=1e-5)
    recorded = scored(mapped, tmp_path / "scored")
    score = evaluate_model(str(folder), tiny_collection(), "dev", runs=tmp_path / "runs", engine="fast")
    assert score["ndcg_at_10"] == pytest.approx(recorded, abs=1e-4)


def test_rows_that_share_a_passage_or_a_text_are_in_one_part():
    rows = [QueryRow(f"q{(number + 1) // 2}", (number // 2,), ()) for number in range(24)]
    rows += [QueryRow(f"alone {number}", (100 + number,), ()) for number in range(200)]
    parts = folds_of(rows, FOLDS, seed=0)
    assert sorted(number for part in parts for number in part) == list(range(len(rows)))
    assert max(map(len, parts)) - min(map(len, parts)) <= 24
    part_of = {number: index for index, part in enumerate(parts) for number in part}
    assert len({part_of[number] for number in range(24)}) == 1
    assert folds_of(rows, FOLDS, seed=0) == parts != folds_of(rows, FOLDS, seed=1)
    assert folds_of(rows[:40], FOLDS, seed=0) == [], "too few"
    assert folds_of([replace(row, positives=(0,)) for row in rows], FOLDS, seed=0) == [], "one group"


def trained_on(pairs, job: QueryMapJob, folder: Path, **changes):
    replace(job, pairs=tuple(pairs), folds=FOLDS, **changes).build(folder)
    trained = read_json(folder / RESULT)
    model = replace(AdaptedModel(job.model.backbone), query_map=folder / "map")
    return trained, model.open().query_encoder.encode(QUERY)


def test_a_map_that_serves_held_out_queries_clearly_better_is_kept(job, tmp_path):
    texts = list(dict.fromkeys(job.pool.values()))
    # All queries are moved away from their passages by one text in front, which a map can undo.
    pairs = [
        Pair(f"p{n}", f"so so so so {text}", text, "train", f"g{n}") for n, text in enumerate(dict.fromkeys(texts))
    ]
    trained, vectors = trained_on(pairs, job, tmp_path, groups={})
    assert trained["held"] == trained["rows"] == len(pairs)
    assert trained["gain"] > 2 * trained["standard_error"] > 0
    assert str(trained["kept_step"]) in trained["gains"]
    assert not np.allclose(vectors, job.model.open().encode(QUERY), atol=1e-3)


def test_a_map_that_serves_held_out_queries_no_better_stays_the_identity(job, tmp_path):
    texts = list(job.pool.values())
    noise = [Pair(f"n{n}", f"word{n * 7919}", texts[n % len(texts)], "train", f"g{n}") for n in range(120)]
    trained, vectors = trained_on(noise, job, tmp_path, groups={})
    assert (trained["kept_step"], trained["held"]) == (0, 120)
    np.testing.assert_allclose(vectors, job.model.open().encode(QUERY), atol=1e-5)


def test_too_few_queries_to_hold_out_give_the_identity(job, tmp_path):
    trained, vectors = trained_on(job.pairs[:10], job, tmp_path)
    assert (trained["kept_step"], trained["held"]) == (0, 0)
    np.testing.assert_allclose(vectors, job.model.open().encode(QUERY), atol=1e-5)
