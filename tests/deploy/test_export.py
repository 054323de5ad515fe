"""Exports: the same vectors by another library, scored on dev, and refused if they lose too much."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stm_agent.backbone.load import load_model
from stm_agent.backbone.sides import encoder_of
from stm_agent.deploy.exporting import export_model
from stm_agent.deploy.product import product_of_model, product_of_run
from stm_agent.errors import CheckFailed, ConfigError, StorageError
from stm_agent.testing.pico import pico_checkpoint

TEXTS = ["my knee is sore", "A finding of painful sensation affecting the knee.", "swollen " * 200, "x"]


def vectors(folder: Path, *, queries: bool = False):
    encoder = encoder_of(load_model(str(folder)))
    return (encoder.query_encoder if queries else encoder).encode(TEXTS)


@pytest.mark.parametrize(
    ("kind", "tolerance", "needs"),
    [
        ("onnx", 1e-5, "onnxruntime"),
        ("openvino", 1e-4, "openvino"),
        ("int8", 0.2, "onnxruntime"),
        ("fp16", 1e-2, "torch"),
    ],
)
def test_an_export_gives_the_vectors_and_its_report(asked, tmp_path, kind, tolerance, needs):
    pytest.importorskip(needs)
    result = export_model(product_of_run(asked), kind, tmp_path / kind, max_loss=1.0, collection=None, cache=None)
    assert np.abs(vectors(tmp_path / kind) - vectors(asked / "model")).max() < tolerance
    assert result["loss"] == pytest.approx(result["source_dev"] - result["dev"])
    assert result["ledger_dev"] == pytest.approx(result["source_dev"], abs=1e-6)
    stored = json.loads((tmp_path / kind / "stm_agent_export.json").read_text())
    assert stored == {name: value for name, value in result.items() if name != "folder"}
    assert load_model(str(tmp_path / kind)).prompts["query"] == "ask: "
    assert len(list((tmp_path / kind).rglob("*.safetensors"))) == (kind == "fp16")


@pytest.mark.parametrize(("architecture", "pooling"), [("llama", "lasttoken"), ("qwen3", "mean")])
def test_decoders_are_exported_with_their_attention(asked, tmp_path, architecture, pooling):
    model = pico_checkpoint(tmp_path / "made", architecture=architecture, pooling=pooling)
    product = product_of_model(str(model))
    export_model(product, "onnx", tmp_path / "onnx", max_loss=1.0, collection=asked / "dev", cache=None)
    assert np.abs(vectors(tmp_path / "onnx") - vectors(model)).max() < 1e-5


def test_both_sides_of_a_model_are_exported(asked, tmp_path):
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.sides import join_sides

    sides = [
        SentenceTransformer(str(pico_checkpoint(tmp_path / f"s{seed}", seed=seed)), device="cpu") for seed in (1, 2)
    ]
    join_sides(*sides).save(str(tmp_path / "joined"), create_model_card=False)
    product = product_of_model(str(tmp_path / "joined"))
    export_model(product, "onnx", tmp_path / "onnx", max_loss=1.0, collection=asked / "dev", cache=None)
    for queries in (False, True):
        whole = vectors(tmp_path / "joined", queries=queries)
        assert np.abs(vectors(tmp_path / "onnx", queries=queries) - whole).max() < 1e-5


def test_a_loss_over_the_limit_is_refused_and_nothing_is_left(asked, tmp_path, monkeypatch):
    from stm_agent.deploy import exporting

    scores = iter((0.5, 0.49))
    monkeypatch.setattr(exporting, "_score", lambda *_: next(scores))
    monkeypatch.setattr(exporting, "_ledger_dev", lambda _: 0.5)
    with pytest.raises(CheckFailed, match=r"loses more nDCG@10 on dev than --max-loss 0\.005"):
        export_model(product_of_run(asked), "fp16", tmp_path / "x", max_loss=0.005, collection=None, cache=None)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_give_the_runs_score_is_refused(asked, tmp_path, monkeypatch):
    from stm_agent.deploy import exporting

    monkeypatch.setattr(exporting, "_ledger_dev", lambda _: 0.123)
    with pytest.raises(CheckFailed, match=r"does not give the run's dev nDCG@10 of 0\.1230"):
        export_model(product_of_run(asked), "fp16", tmp_path / "x", max_loss=1.0, collection=None, cache=None)


def test_a_full_disk_leaves_nothing(asked, tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(StorageError, match="free some space"):
        export_model(product_of_run(asked), "fp16", tmp_path / "x", max_loss=1.0, collection=None, cache=None)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_named(asked, tmp_path):
    product = product_of_run(asked)
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        export_model(product, "fp16", tmp_path, max_loss=1.0, collection=None, cache=None)
    alone = product_of_model(str(asked / "model"))
    with pytest.raises(ConfigError, match="has no run to be scored on"):
        export_model(alone, "fp16", tmp_path / "x", max_loss=1.0, collection=None, cache=None)
