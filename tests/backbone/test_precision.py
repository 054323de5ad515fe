"""Mixed precision: faster vectors of nearly the same direction, with an identity of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stm_agent.backbone import load, precision
from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.precision import MIXED, has_bfloat16_products, mixed_pays
from stm_agent.domain.load import domain_of_collection
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import BackboneSpec, ExpertSpec
from stm_agent.errors import BackboneError
from stm_agent.loop import lengths
from stm_agent.loop.lengths import MIXED_REASON, with_encoding
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_beir, tiny_collection
from stm_agent.train.student import trained_backbone

TEXTS = ["a short text", "another text about fever and cough", "words"]

needs_instructions = pytest.mark.skipif(not has_bfloat16_products(), reason="the CPU has no bfloat16 instructions")


@pytest.fixture
def mixed(tmp_path: Path) -> AdaptedModel:
    return AdaptedModel(BackboneSpec(model=str(pico_decoder(tmp_path / "pico")), max_length=16, dtype="mixed"))


@needs_instructions
def test_vectors_have_nearly_the_same_direction_and_their_own_identity(mixed: AdaptedModel) -> None:
    exact = mixed.in_float32
    assert exact.backbone.dtype == "float32"
    ours, theirs = mixed.open(), exact.open()
    vectors, exact_vectors = ours.encode(TEXTS), theirs.encode(TEXTS)
    cosines = (vectors * exact_vectors).sum(axis=1)
    assert cosines.min() > 0.999
    assert np.abs(vectors - exact_vectors).max() > 0
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert ours.identity != theirs.identity, "a cached vector of one is not the other's"


def test_a_model_in_float32_is_its_own_exact_form(tmp_path: Path) -> None:
    model = AdaptedModel(BackboneSpec(model=str(pico_decoder(tmp_path / "pico"))))
    assert model.in_float32 is model


def test_a_cpu_that_would_emulate_it_is_refused(mixed: AdaptedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16_products", lambda: False)
    with pytest.raises(BackboneError, match="no instructions for bfloat16; set dtype: auto"):
        load_backbone(mixed.backbone)
    assert load.MIXED == MIXED


@needs_instructions
def test_it_pays_for_wide_models_only(mixed: AdaptedModel, tmp_path: Path) -> None:
    assert mixed_pays("embedded:all-minilm-l6-v2")
    assert not mixed_pays(mixed.backbone.model)
    assert not mixed_pays(str(tmp_path / "none")), "the loading of the model reports it"


def test_the_plan_of_a_folder_chooses_it_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "mixed_pays", lambda name: name == "a")
    spec = domain_of_collection(tiny_beir(tmp_path / "folder"))
    first, second = (BackboneSpec(model=name, max_length=16) for name in "ab")
    exact = BackboneSpec(model="a", max_length=16, dtype="float32")
    planned = spec.model_copy(update={"backbone": first, "starts": (second, exact)})
    settled, reasons = with_encoding(planned, judged_domain_data(tiny_collection()))
    assert [start.dtype for start in (settled.backbone, *settled.starts)] == [MIXED, "auto", "float32"]
    assert reasons == (MIXED_REASON,)


def test_a_domain_that_lists_its_experts_is_encoded_with_it_and_keeps_its_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "mixed_pays", lambda name: True)
    spec = domain_of_collection(tiny_beir(tmp_path / "folder"))
    listed = spec.model_copy(
        update={
            "backbone": BackboneSpec(model="a"),
            "starts": (),
            "experts": (ExpertSpec(name="one", sources=["train"], steps=1),),
        }
    )
    settled, reasons = with_encoding(listed, judged_domain_data(tiny_collection()))
    assert (settled.backbone.dtype, settled.backbone.max_length) == (MIXED, None)
    assert reasons == (MIXED_REASON,)


def test_the_number_format_decides_an_adapter_and_how_vectors_are_stored_does_not() -> None:
    mixed, exact = (BackboneSpec(model="a", dtype=dtype) for dtype in (MIXED, "float32"))
    assert trained_backbone(mixed) != trained_backbone(exact)
    assert trained_backbone(mixed) == trained_backbone(mixed.model_copy(update={"vectors": "float16"}))
