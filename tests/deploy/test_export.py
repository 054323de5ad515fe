"""Exports: the same vectors by another library, scored on dev, and refused if they lose too much."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stm_agent.backbone.load import load_model
from stm_agent.backbone.opened import open_model
from stm_agent.backbone.precision import has_bfloat16_products
from stm_agent.backbone.sides import encoder_of
from stm_agent.deploy.exporting import export_model
from stm_agent.deploy.product import product_of_model, product_of_run
from stm_agent.errors import BackboneError, CheckFailed, ConfigError, StorageError
from stm_agent.testing.pico import pico_checkpoint

TEXTS = ["my knee is sore", "A finding of painful sensation affecting the knee.", "swollen " * 200, "x"]


BFLOAT16 = pytest.mark.skipif(not has_bfloat16_products(), reason="this CPU has no instructions for bfloat16")


def vectors(folder: Path, *, queries: bool = False):
    encoder = open_model(str(folder)).encoder
    return (encoder.query_encoder if queries else encoder).encode(TEXTS)


@pytest.mark.parametrize(
    ("kind", "tolerance", "needs"),
    [
        ("onnx", 1e-5, "onnxruntime"),
        ("openvino", 1e-4, "openvino"),
        ("int8", 0.2, "onnxruntime"),
        ("fp16", 1e-2, "torch"),
        pytest.param("bf16", 2e-2, "torch", marks=BFLOAT16),
        ("gguf", 2e-3, "xllamacpp"),
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
    assert open_model(str(tmp_path / kind)).prompts["query"] == "ask: "
    assert len(list((tmp_path / kind).rglob("*.safetensors"))) == (kind in ("fp16", "bf16"))


def test_a_served_export_says_what_it_was_made_of_and_scored(plain, tmp_path):
    from stm_agent.deploy.service import ServeOptions, Service

    source = product_of_run(plain)
    result = export_model(source, "fp16", tmp_path / "fp16", max_loss=1.0, collection=None, cache=None)
    product = product_of_model(str(tmp_path / "fp16"))
    service = Service([product], tmp_path, ServeOptions())
    (row,) = service.models_body()["data"]
    service.close()
    assert (row["source_sha256"], row["proved_dev_ndcg_at_10"]) == (source.sha256, result["dev"])
    assert row["dimensions"] == [8, 16, 32]
    assert row["sha256"] == result["sha256"] != source.sha256
    weights = tmp_path / "fp16" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckFailed, match="not those that were exported and scored"):
        product_of_model(str(tmp_path / "fp16"))


@pytest.mark.parametrize("kind", ["onnx", "int8"])
def test_sentence_transformers_opens_an_export_too(asked, tmp_path, kind):
    pytest.importorskip("onnxruntime")
    export_model(product_of_run(asked), kind, tmp_path / kind, max_loss=1.0, collection=None, cache=None)
    library = encoder_of(load_model(str(tmp_path / kind)))
    assert np.abs(library.encode(TEXTS) - vectors(tmp_path / kind)).max() < 1e-6
    assert library.identity == open_model(str(tmp_path / kind)).encoder.identity


@pytest.mark.parametrize(("architecture", "pooling"), [("llama", "lasttoken"), ("llama", "mean"), ("bert", "cls")])
def test_llama_cpp_computes_the_vectors_of_what_is_exported_for_it(asked, tmp_path, architecture, pooling):
    pytest.importorskip("xllamacpp")
    model = pico_checkpoint(tmp_path / "made", architecture=architecture, pooling=pooling)
    product = product_of_model(str(model))
    result = export_model(product, "gguf", tmp_path / "gguf", max_loss=1.0, collection=asked / "dev", cache=None)
    assert result["smallest_cosine"] > 0.9999
    assert np.abs(vectors(tmp_path / "gguf") - vectors(model)).max() < 2e-3
    with pytest.raises(BackboneError, match=r"is run by llama\.cpp"):
        load_model(str(tmp_path / "gguf"))


@pytest.mark.parametrize(
    ("made", "words"), [({"architecture": "qwen3"}, "convert_hf_to_gguf"), ({"dense": 8}, "Dense")]
)
def test_what_is_not_written_as_gguf_names_what_does_it(asked, tmp_path, made, words):
    pytest.importorskip("xllamacpp")
    product = product_of_model(str(pico_checkpoint(tmp_path / "made", **made)))
    with pytest.raises(BackboneError, match=words):
        export_model(product, "gguf", tmp_path / "gguf", max_loss=1.0, collection=asked / "dev", cache=None)
    assert not (tmp_path / "gguf").exists()


def test_vectors_that_another_program_turns_too_far_are_refused(asked, tmp_path, monkeypatch):
    pytest.importorskip("xllamacpp")
    from stm_agent.deploy import exporting, formats

    strict = {"fp16": replace(formats.FORMATS["fp16"], nearest=1.1)}
    monkeypatch.setattr(exporting, "FORMATS", strict)
    with pytest.raises(CheckFailed, match="turns a vector of this model too far"):
        export_model(product_of_run(asked), "fp16", tmp_path / "x", max_loss=1.0, collection=None, cache=None)
    assert list(tmp_path.iterdir()) == []


def test_an_export_for_bfloat16_is_refused_by_a_cpu_without_it(asked, tmp_path, monkeypatch):
    from stm_agent.backbone import opened

    shutil.copytree(asked / "model", tmp_path / "bf16")
    (tmp_path / "bf16" / "stm_agent_export.json").write_text('{"network": null, "products": "bfloat16"}')
    monkeypatch.setattr(opened, "has_bfloat16_products", lambda: False)
    with pytest.raises(BackboneError, match="for CPUs with instructions for bfloat16"):
        open_model(str(tmp_path / "bf16"))


@pytest.mark.parametrize(("architecture", "pooling"), [("llama", "lasttoken"), ("qwen3", "mean")])
def test_decoders_are_exported_with_their_attention(asked, tmp_path, architecture, pooling):
    model = pico_checkpoint(tmp_path / "made", architecture=architecture, pooling=pooling)
    product = product_of_model(str(model))
    export_model(product, "onnx", tmp_path / "onnx", max_loss=1.0, collection=asked / "dev", cache=None)
    assert np.abs(vectors(tmp_path / "onnx") - vectors(model)).max() < 1e-5


@pytest.mark.parametrize("mapped", [False, True], ids=["own weights", "a map"])
def test_both_sides_of_a_model_are_exported(asked, tmp_path, mapped):
    import torch
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.query_map import save_map, with_map
    from stm_agent.backbone.sides import join_sides

    sides = [
        SentenceTransformer(str(pico_checkpoint(tmp_path / f"s{seed}", seed=seed)), device="cpu") for seed in (1, 2)
    ]
    if mapped:
        torch.manual_seed(0)
        size = int(sides[1].get_embedding_dimension() or 0)
        save_map(torch.randn(size, 2), torch.randn(2, size), tmp_path / "map")
        sides[1] = with_map(sides[1], tmp_path / "map")
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
