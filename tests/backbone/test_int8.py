"""Int8 forwards: nearly the same vectors, exported once, known by another name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from stm_agent.backbone.encoder import TextEncoder
from stm_agent.backbone.identity import source_identity
from stm_agent.backbone.int8 import FILE, quantise
from stm_agent.backbone.load import load_backbone, load_model
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import BackboneError, CheckFailed, ConfigError
from stm_agent.testing.pico import pico_decoder

TEXTS = ["a", "a short question", "a passage that is a good deal longer than any of the questions it may answer", ""]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STM_AGENT_CACHE", str(tmp_path / "cache"))
    spec = BackboneSpec(model=str(pico_decoder(tmp_path / "pico")), max_length=32)
    load_backbone(spec, packed=False).save(str(tmp_path / "model"))
    return str(tmp_path / "model")


def test_vectors_are_nearly_the_same_and_have_another_identity(model: str, tmp_path: Path) -> None:
    whole, small = TextEncoder(load_model(model)), TextEncoder(load_model(f"int8:{model}"))
    one, other = whole.encode(TEXTS), small.encode(TEXTS)
    assert not np.array_equal(one, other)
    assert (one * other)[:3].sum(axis=1).min() > 0.99
    assert whole.identity != small.identity
    assert source_identity(f"int8:{model}") == f"int8:{source_identity(model)}"
    # Alone or among others: activations are quantised over the whole product, so it is near and not equal.
    assert (small.encode(TEXTS[1:2]) * other[1:2]).sum() > 0.99


def test_a_product_with_outliers_stays_whole(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TextEncoder(load_model(model)).encode(TEXTS)
    monkeypatch.setattr("stm_agent.backbone.int8.CREST", 0.0)
    assert np.allclose(TextEncoder(load_model(f"int8:{model}")).encode(TEXTS), whole, atol=1e-5)


def test_it_is_exported_once(model: str, tmp_path: Path) -> None:
    load_model(f"int8:{model}")
    (kept,) = (tmp_path / "cache").glob("int8-*")
    assert [path.name for path in kept.iterdir()] == [FILE]
    before = (kept / FILE).stat().st_mtime_ns
    load_model(f"int8:{model}")
    assert (kept / FILE).stat().st_mtime_ns == before


def test_what_cannot_run_says_so(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    padded = load_backbone(BackboneSpec(model=model), packed=False)
    with pytest.raises(BackboneError, match="leave int8: out"):
        quantise(padded, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("stm_agent.backbone.int8.NEAR", 1.1)
        with pytest.raises(CheckFailed, match="int8"):
            load_model(f"int8:{model}")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"stm-agent\[int8\]"):
        load_model(f"int8:{model}")
