"""A model with a hidden fault does not get past loading; what cannot be packed is padded, and said."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import AutoConfig

from stm_agent.backbone import checks
from stm_agent.backbone.checks import check_attention_direction, check_padding_invariance, tolerance, vectors
from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.network import network_of
from stm_agent.backbone.packed import PackedTransformer
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import CheckFailed
from stm_agent.testing.pico import pico_checkpoint, pico_decoder


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_vector_that_depends_on_the_padding_is_found(pico, monkeypatch, side):
    model = load_backbone(BackboneSpec(model=str(pico)), packed=False)
    assert check_padding_invariance(model) < 1e-5
    own = checks.vectors

    def forgets_one_side(model, texts=checks.PROBE):
        shift = 0.02 if len(texts) > 1 and model.tokenizer.padding_side == side else 0.0
        return own(model, texts) + shift

    monkeypatch.setattr(checks, "vectors", forgets_one_side)
    with pytest.raises(CheckFailed, match=rf"'padding-invariance' failed \(0\.02\): .* padded on the {side}"):
        check_padding_invariance(model)
    assert model.tokenizer.padding_side == "right"


def test_padding_is_really_on_both_sides(pico, monkeypatch):
    model = load_backbone(BackboneSpec(model=str(pico)), packed=False)
    seen = []
    own = type(model[0]).forward

    def look(self, features):
        mask = features["attention_mask"]
        seen.append((int((mask[:, 0] == 0).sum()), int((mask[:, -1] == 0).sum())))
        return own(self, features)

    monkeypatch.setattr(type(model[0]), "forward", look)
    check_padding_invariance(model)
    assert {(left > 0, right > 0) for left, right in seen} == {(False, False), (True, False), (False, True)}


def test_a_mask_that_is_forgotten_without_padding_is_found(pico):
    model = load_backbone(BackboneSpec(model=str(pico)), packed=False)
    # transformers then takes the causal shortcut of the attention where no padding needs a mask.
    network_of(model).config.is_causal = None
    with pytest.raises(CheckFailed, match="attention-direction"):
        check_attention_direction(model)


def test_an_encoder_is_checked_on_the_side_it_pads(tmp_path):
    folder = pico_checkpoint(tmp_path)
    assert load_backbone(BackboneSpec(model=str(folder)), packed=False).tokenizer.padding_side == "right"


def test_what_cannot_be_packed_is_padded_and_told_once(tmp_path, caplog):
    # Phi has no sliding window: a config that names one is believed, and the check finds out.
    folder = pico_decoder(tmp_path / "phi", architecture="phi")
    config = AutoConfig.from_pretrained(folder)
    config.sliding_window = 4
    config.save_pretrained(folder)
    spec = BackboneSpec(model=str(folder))
    with caplog.at_level(logging.WARNING, logger="stm_agent"):
        models = [load_backbone(spec) for _ in range(2)]
    assert not isinstance(models[0][0], PackedTransformer)
    assert [record.getMessage().count("check 'packing' failed (0.") for record in caplog.records] == [1]
    assert vectors(models[0]).shape == (3, 32)


def test_a_network_that_takes_no_positions_is_padded(tmp_path, caplog, monkeypatch):
    from transformers import LlamaModel

    own = LlamaModel.forward

    def refuses(self, input_ids=None, attention_mask=None, position_ids=None, **kwargs):
        if position_ids is not None:
            raise TypeError("unexpected keyword argument 'position_ids'")
        return own(self, input_ids=input_ids, attention_mask=attention_mask, **kwargs)

    monkeypatch.setattr(LlamaModel, "forward", refuses)
    model = load_backbone(BackboneSpec(model=str(pico_decoder(tmp_path / "pico"))))
    assert not isinstance(model[0], PackedTransformer)
    assert "the network takes no packed rows (unexpected keyword" in caplog.text


def test_half_precision_is_measured_in_its_own_steps(pico):
    model = load_backbone(BackboneSpec(model=str(pico)))
    assert tolerance(model) == 1e-4
    assert tolerance(model.to(torch.bfloat16)) == pytest.approx(0.03125)
    assert tolerance(model.to(torch.float16)) == pytest.approx(0.00390625)
