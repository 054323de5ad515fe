"""Layers, attention, pooling and what a saved folder keeps of them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from stm_agent.backbone.checks import check_attention_direction, check_eos_pooled, check_reload, vectors
from stm_agent.backbone.load import load_backbone, load_model, network_of
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import BackboneError, CheckFailed
from stm_agent.testing.pico import SENTENCES

PLAIN = """
import sys
import numpy as np
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
np.save(sys.argv[2], model.encode(sys.argv[3:]))
assert not [name for name in sys.modules if name.startswith("stm_agent")]
"""


def qwen2_decoder(folder):
    """A Qwen2 decoder with Qwen2's own tokenizer class, which ignores ``add_eos_token``."""
    import torch
    from transformers import Qwen2Config, Qwen2Model, Qwen2Tokenizer

    letters = "abcdefghijklmnopqrstuvwxyz\u0120.,?"
    tokenizer = Qwen2Tokenizer(
        vocab={"<|endoftext|>": 0, **{letter: place for place, letter in enumerate(letters, 1)}}, merges=[]
    )
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=0,
    )
    Qwen2Model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save(model, folder):
    model[0].unwrap()
    model.save(str(folder), create_model_card=False)
    return folder


def test_layers_are_kept_and_reloaded(pico, tmp_path):
    model = load_backbone(BackboneSpec(model=str(pico), layers=2))
    expected = vectors(model)
    assert len(network_of(model).layers) == 2
    again = load_model(str(save(model, tmp_path / "saved")))
    assert len(network_of(again).layers) == network_of(again).config.num_hidden_layers == 2
    assert check_reload(expected, again, tmp_path) < 1e-6
    with pytest.raises(CheckFailed, match="reload"):
        check_reload(vectors(load_backbone(BackboneSpec(model=str(pico)))), again, tmp_path)


@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_saved_folder_keeps_its_attention(pico, tmp_path, attention):
    from sentence_transformers import SentenceTransformer

    model = load_backbone(BackboneSpec(model=str(pico), attention=attention))
    expected = vectors(model, SENTENCES)
    folder = save(model, tmp_path / "saved")
    assert json.loads((folder / "config.json").read_text())["is_causal"] is (attention == "causal")
    plain = SentenceTransformer(str(folder), device="cpu")
    check_attention_direction(plain, attention)
    np.testing.assert_allclose(vectors(plain, SENTENCES), expected, atol=1e-5)


def test_saved_folder_needs_no_stm_agent(pico, tmp_path):
    model = load_backbone(BackboneSpec(model=str(pico)))
    expected = vectors(model, SENTENCES)
    folder = save(model, tmp_path / "saved")
    assert "stm_agent" not in (folder / "modules.json").read_text()
    command = [sys.executable, "-c", PLAIN, str(folder), str(tmp_path / "vectors.npy"), *SENTENCES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), expected, atol=1e-5)


def test_probe_finds_the_direction(pico):
    bidirectional = load_backbone(BackboneSpec(model=str(pico)))
    causal = load_backbone(BackboneSpec(model=str(pico), attention="causal"))
    assert check_attention_direction(bidirectional, "bidirectional") > 1e-3
    assert check_attention_direction(causal, "causal") < 1e-6
    with pytest.raises(CheckFailed, match="attention-direction") as failed:
        check_attention_direction(causal, "bidirectional")
    assert failed.value.measured < 1e-6
    with pytest.raises(CheckFailed, match="attention-direction"):
        check_attention_direction(bidirectional, "causal")


@pytest.mark.parametrize("family", ["pico", "qwen2"])
def test_last_token_is_eos_also_when_cut_and_when_reloaded(pico, tmp_path, family):
    source = pico if family == "pico" else qwen2_decoder(tmp_path / "qwen2")
    model = load_backbone(BackboneSpec(model=str(source), pooling="lasttoken", max_length=8))
    for held in (model, load_model(str(save(model, tmp_path / "saved")))):
        features = held.preprocess(["heat", "pain in the left knee after running, with swelling"])
        last = features["attention_mask"].sum(dim=1) - 1
        assert features["input_ids"].shape[1] == 8
        assert features["input_ids"].gather(1, last[:, None]).unique().tolist() == [held.tokenizer.eos_token_id]


def test_missing_eos_is_found(pico):
    with pytest.raises(CheckFailed, match="eos-pooled"):
        check_eos_pooled(load_backbone(BackboneSpec(model=str(pico), pooling="mean")))


def test_more_layers_than_there_are(pico):
    with pytest.raises(BackboneError, match="has 3 layers, the domain asks for 9"):
        load_backbone(BackboneSpec(model=str(pico), layers=9))


@pytest.mark.parametrize("layers", [None, 1])
def test_a_folder_without_a_model(tmp_path, layers):
    with pytest.raises(BackboneError, match="cannot load backbone"):
        load_backbone(BackboneSpec(model=str(tmp_path), layers=layers))
