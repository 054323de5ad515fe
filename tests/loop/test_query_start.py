"""Experts of queries can stand on any merge: one that is no single adapter is written as a model of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.files import write_json
from stm_agent.inspect.front import pick
from stm_agent.loop.merging import _about
from stm_agent.loop.query_side import query_start, train_query_side, with_incumbent
from stm_agent.loop.state import Expert, RatedModel
from stm_agent.loop.training import TrainingPlan
from stm_agent.loop.training_data import TrainingData
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.recipe import SUM, MethodOptions
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_collection

TEXTS = ["a finding of the knee", "what hurts"]
TIES = MethodOptions(method="ties", density=0.5)
EXPERT = ExpertSpec(name="queries", sources=("train",), side="query", steps=3, learning_rate=0.02)


@pytest.fixture
def backbone(tmp_path: Path) -> BackboneSpec:
    return BackboneSpec(model=str(pico_decoder(tmp_path / "pico")), max_length=32)


@pytest.fixture
def adapters(backbone: BackboneSpec, tmp_path: Path) -> tuple[Path, ...]:
    """Two adapters with random weights, each in the stage folder that a run would have."""
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        options = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
        folder = tmp_path / "runs" / ".stages" / f"train-{seed}" / "adapter"
        get_peft_model(AutoModel.from_pretrained(backbone.model), options).save_pretrained(folder)
        made.append(folder)
    return tuple(made)


@pytest.fixture
def context(backbone: BackboneSpec, tmp_path: Path) -> Any:
    def build(job: Any) -> Path:
        folder = tmp_path / "runs" / ".stages" / job.folder_name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            job.build(folder)
        return folder

    data = judged_domain_data(tiny_collection())
    return SimpleNamespace(
        spec=SimpleNamespace(backbone=backbone, train=TrainSpec(batch_size=4, embeddings=False)),
        backbone=AdaptedModel(backbone),
        data=data,
        documents=data.collection.texts,
        cache=tmp_path / "cache",
        build=build,
    )


def vectors(model: AdaptedModel) -> np.ndarray:
    return model.open().encode(TEXTS)


@pytest.mark.parametrize("method", [SUM, TIES], ids=["sum", "ties"])
def test_the_side_of_queries_starts_from_the_model_of_the_passages(
    context: Any, backbone: BackboneSpec, adapters: tuple[Path, ...], method: MethodOptions
) -> None:
    documents = AdaptedModel(backbone, adapters, (0.6, 0.4), method)
    start = query_start(context, documents)
    own = (start.adapter,) if start.adapter else ()
    np.testing.assert_allclose(
        vectors(AdaptedModel(start.backbone, own, (1.0,) * len(own))), vectors(documents), atol=1e-5
    )
    plan = TrainingPlan(
        spec=EXPERT, pairs=context.data.sources["train"], training_data=TrainingData(), start=start.adapter
    )
    _, model = train_query_side(context, plan, Instruction(), start, seed=0)
    encoder = model.open()
    np.testing.assert_allclose(encoder.encode(TEXTS), vectors(documents), atol=1e-6)
    assert not np.allclose(encoder.query_encoder.encode(TEXTS), vectors(documents), atol=1e-3), "queries have learnt"


def test_a_point_of_queries_on_such_a_merge_is_a_model_too(
    context: Any, backbone: BackboneSpec, adapters: tuple[Path, ...], tmp_path: Path, tiny_domain: Any
) -> None:
    documents = AdaptedModel(backbone, adapters, (0.6, 0.4), TIES)
    start = query_start(context, documents)
    plan = TrainingPlan(spec=EXPERT, pairs=context.data.sources["train"], training_data=TrainingData(), start=None)
    folder, trained = train_query_side(context, plan, Instruction(), start, seed=0)
    run = tmp_path / "runs" / "made"
    run.mkdir()
    # The domain has another start than the one that the experts stand on.
    other = BackboneSpec(model=str(pico_decoder(tmp_path / "other", seed=3)), max_length=32)
    domain = tiny_domain.model_copy(update={"backbone": other})
    write_json(run / "run.json", {"identity": {"domain": domain.model_dump(mode="json")}})
    point = {"weights": [1.0], "method": SUM.model_dump(mode="json"), "dev": 0.5, "general": 0.5, "verified": True}
    front = {"event": "front", "experts": {"queries": folder.name}, "points": [point], **_about(start)}
    front["start"] = backbone.model_dump(mode="json")
    (run / "ledger.jsonl").write_text(json.dumps(front) + "\n")
    pick(run, 1, tmp_path / "picked")

    from sentence_transformers import SentenceTransformer

    saved = SentenceTransformer(str(tmp_path / "picked"), device="cpu")
    np.testing.assert_allclose(saved.encode_query(TEXTS), trained.open().query_encoder.encode(TEXTS), atol=1e-4)
    np.testing.assert_allclose(saved.encode_document(TEXTS), vectors(documents), atol=1e-4)


@pytest.mark.parametrize("method", [SUM, TIES], ids=["sum", "ties"])
def test_a_merge_of_queries_can_return_to_the_model_of_the_passages(
    context: Any, backbone: BackboneSpec, adapters: tuple[Path, ...], method: MethodOptions
) -> None:
    documents = AdaptedModel(backbone, adapters, (0.6, 0.4), method)
    context.rate = lambda model, instruction: model
    queries = AdaptedModel(backbone, adapters[:1], (1.0,))
    rated = RatedModel(
        label="expert queries",
        model=replace(documents, queries=queries),
        experts=("queries",),
        instruction=Instruction(),
        rating=None,
    )
    expert = Expert(
        name="queries",
        spec_name="queries",
        variant="alone",
        folder=adapters[0].parent,
        rated=rated,
        texts_per_second=1.0,
        side="query",
    )
    members = with_incumbent(context, [expert])
    assert members[0] == expert
    if method == TIES:
        # That merge is the backbone of the side of queries, to which weights below 1 return.
        assert len(members) == 1
        return
    assert [member.name for member in members[1:]] == ["incumbent"]
    merged = AdaptedModel(backbone, (members[1].adapter,), (1.0,))
    np.testing.assert_allclose(vectors(merged), vectors(documents), atol=1e-5)
    assert members[1].rated.rating.documents == documents
