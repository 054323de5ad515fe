"""Every decoder family, and an encoder: both directions, sliding windows, EOS, LoRA, and what a saved folder keeps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from stm_agent.backbone.checks import check_attention_direction, check_eos_pooled, check_reload, vectors
from stm_agent.backbone.load import load_backbone, load_model, network_of
from stm_agent.backbone.lora import lora_targets
from stm_agent.backbone.packed import PackedTransformer
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import CheckFailed
from stm_agent.merge.delta import combine, fold, load_delta, save_delta
from stm_agent.testing.pico import SENTENCES, pico_decoder

# Layers, sliding window in tokens, linear layers of a block.
FAMILIES = {
    "llama": (2, None, 7),
    "qwen2": (2, 4, 7),
    "qwen3": (2, 4, 7),
    "gemma": (2, None, 7),
    "gemma2": (2, 4, 7),
    "gemma3": (6, 4, 7),
    "phi": (2, None, 6),
    "phi3": (2, 4, 4),
    "mistral": (2, 4, 7),
    "smollm3": (4, 4, 7),
}
TEXTS = ["heart", *SENTENCES, " ".join(SENTENCES)]


@pytest.fixture(scope="module", params=[*FAMILIES, "bert"])
def family(request, tmp_path_factory):
    layers, window, _ = FAMILIES.get(request.param, (2, None, 6))
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, pico_decoder(folder / "model", architecture=request.param, layers=layers, window=window)


@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_packed_equals_padded_also_beyond_the_window_and_when_reloaded(family, attention, tmp_path):
    name, folder = family
    spec = BackboneSpec(model=str(folder), attention=attention, pooling="lasttoken", max_length=100, eos=name != "bert")
    if name == "bert" and attention == "causal":
        with pytest.raises(CheckFailed, match=r"'attention-direction' failed \(0\.0\d+\): the model is not causal"):
            load_backbone(spec)
        return
    model = load_backbone(spec)
    assert isinstance(model[0], PackedTransformer)
    expected = vectors(model, TEXTS)
    model[0].unwrap()
    np.testing.assert_allclose(expected, vectors(model, TEXTS), atol=1e-5)
    model.save(str(tmp_path / "saved"), create_model_card=False)
    again = load_model(str(tmp_path / "saved"))
    check_attention_direction(again, attention)
    if name != "bert":
        check_eos_pooled(again)
    np.testing.assert_allclose(expected, vectors(again, TEXTS), atol=1e-5)


@pytest.mark.parametrize("attention", [None, "bidirectional"])
def test_a_switch_of_its_own_is_left_alone(tmp_path, attention):
    folder = pico_decoder(tmp_path / "gemma3", architecture="gemma3", layers=6, window=8)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "use_bidirectional_attention": True}))
    model = load_backbone(BackboneSpec(model=str(folder), attention=attention, max_length=100))
    assert getattr(network_of(model).config, "is_causal", None) is None
    assert isinstance(model[0], PackedTransformer)
    expected = vectors(model, TEXTS)
    model[0].unwrap()
    np.testing.assert_allclose(expected, vectors(model, TEXTS), atol=1e-5)


def test_the_first_layers_are_kept_and_saved(family, tmp_path):
    _, folder = family
    model = load_backbone(BackboneSpec(model=str(folder), layers=1))
    assert network_of(model).config.num_hidden_layers == 1
    assert len({name for name in lora_targets(network_of(model), embeddings=False) if ".0." in name}) > 3
    assert not [name for name, _ in network_of(model).named_modules() if ".1." in f".{name}."]
    model[0].unwrap()
    model.save(str(tmp_path / "saved"), create_model_card=False)
    check_reload(vectors(model), load_model(str(tmp_path / "saved")), tmp_path)


def test_lora_adapts_every_linear_layer_and_folds_exactly(family, tmp_path):
    from peft import LoraConfig, get_peft_model

    name, folder = family
    layers, _, linear = FAMILIES.get(name, (2, None, 6))
    model = load_backbone(BackboneSpec(model=str(folder)))
    network = network_of(model)
    targets = lora_targets(network, embeddings=True)
    words = {name for name, module in network.named_modules() if module is network.get_input_embeddings()}
    assert len(targets) == layers * linear + 1
    assert not [target for target in targets if "pooler" in target]
    model[0].model = get_peft_model(network, LoraConfig(r=2, lora_alpha=4, target_modules=targets))
    torch.manual_seed(0)
    for name, weight in model[0].model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.1)
    expected = vectors(model)
    model[0].model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    delta = load_delta(tmp_path / "adapter")
    assert set(delta.modules) == set(targets)
    assert delta.embeddings == words
    # Two halves make the whole again, and a merge saved as an adapter is read as the same.
    save_delta(combine([delta, delta], [0.5, 0.5]), tmp_path / "merged", base=str(folder))
    fresh = load_backbone(BackboneSpec(model=str(folder)))
    base = vectors(fresh)
    fold(network_of(fresh), load_delta(tmp_path / "merged"))
    np.testing.assert_allclose(vectors(fresh), expected, atol=1e-4)
    assert np.abs(expected - base).max() > 1e-3
