"""A GGUF file by its path is a backbone like any other."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stm_agent.backbone.checks import vectors
from stm_agent.backbone.embedded import resolve_model
from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.network import network_of
from stm_agent.domain.spec import BackboneSpec
from stm_agent.testing.pico import pico_decoder

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_of(folder, path):
    """Write a pico Llama as the GGUF file that llama.cpp's converter would write."""
    from gguf import GGUFWriter
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder)
    config, heads = model.config, model.config.num_attention_heads
    tokens = json.loads((folder / "tokenizer.json").read_text())["model"]
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(tokens["vocab"], key=tokens["vocab"].get))
    writer.add_token_types([3 if place < 2 else 1 for place in range(config.vocab_size)])
    writer.add_token_merges([" ".join(pair) for pair in tokens["merges"]])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(1)
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            own = heads if "q_proj" in name else config.num_key_value_heads
            array = array.reshape(own, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(_theirs(name), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _theirs(name):
    if not name.startswith("layers."):
        return {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]
    _, layer, rest = name.split(".", 2)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def test_a_gguf_file_gives_the_vectors_of_its_decoder(tmp_path, monkeypatch):
    monkeypatch.setenv("STM_AGENT_CACHE", str(tmp_path / "cache"))
    folder = pico_decoder(tmp_path / "pico")
    path = gguf_of(folder, tmp_path / "pico.gguf")
    model = load_backbone(BackboneSpec(model=str(path)))
    np.testing.assert_allclose(vectors(model), vectors(load_backbone(BackboneSpec(model=str(folder)))), atol=1e-5)
    assert resolve_model(str(path)).startswith(str(tmp_path / "cache"))
    assert len(network_of(load_backbone(BackboneSpec(model=str(path), layers=1))).layers) == 1


def test_a_cut_gguf_file_is_named(tmp_path, monkeypatch):
    from stm_agent.errors import BackboneError

    monkeypatch.setenv("STM_AGENT_CACHE", str(tmp_path / "cache"))
    path = gguf_of(pico_decoder(tmp_path / "pico"), tmp_path / "pico.gguf")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BackboneError, match=r"cannot read .*pico\.gguf: ") as caught:
        resolve_model(str(path))
    assert "\n" not in str(caught.value)
