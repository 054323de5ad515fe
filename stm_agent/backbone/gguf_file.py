"""A model as a GGUF file, which llama.cpp and what is built on it run: network, tokenizer, pooling.

llama.cpp's own converter is a script of its repository and in no package; its library of names and files (``gguf``) is.
Written here are the two families that this package adapts: BERT encoders, and Llama decoders in either direction of
attention. Whether llama.cpp computes the same vectors from the file is measured after every export.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.gguf_tokenizer import CONVERTER, add_tokenizer
from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    from gguf import MODEL_ARCH, GGUFWriter, TensorNameMap
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedConfig, PreTrainedModel

FLOAT32 = ("token_types", "position_embd")
"""Parts of tensors' names that llama.cpp reads in float32 alone, beside biases and norms."""


def write_gguf(model: SentenceTransformer, path: Path) -> None:
    """Write a loaded model with one side as a GGUF file: matrices in float16, the rest in float32.

    Raises:
        BackboneError: The network, the tokenizer or the modules behind them are of a kind that is not written here;
            the message names llama.cpp's converter.
    """
    import gguf

    from stm_agent.backbone.checks import TOLERANCE, first_token_moves
    from stm_agent.backbone.network import network_of

    network = network_of(model)
    config = network.config
    pooling = _pooling(model)
    causal = first_token_moves(network) < TOLERANCE
    arch, settings = _family(config, causal)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), gguf.MODEL_ARCH_NAMES[arch])
    try:
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_causal_attention(causal)
        writer.add_pooling_type(gguf.PoolingType[pooling])
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        settings(writer, config)
        add_tokenizer(writer, model.tokenizer, config.vocab_size)
        _add_tensors(writer, network, gguf.get_tensor_name_map(arch, config.num_hidden_layers))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _pooling(model: SentenceTransformer) -> str:
    """Return llama.cpp's name of a model's pooling."""
    kinds = [type(part).__name__ for part in list(model)[1:]]
    mode = getattr(model[1], "pooling_mode", None) if kinds[:1] == ["Pooling"] else None
    name = {"mean": "MEAN", "cls": "CLS", "lasttoken": "LAST"}.get(str(mode))
    if name is None or set(kinds[1:]) - {"Normalize"}:
        raise BackboneError(f"llama.cpp has no {' + '.join(kinds)} ({mode}) behind the tokens; use another --format")
    return name


Settings = Callable[["GGUFWriter", "PreTrainedConfig"], None]
"""Adds what a family has beside sizes."""


def _family(config: PreTrainedConfig, causal: bool) -> tuple[MODEL_ARCH, Settings]:
    import gguf

    kind = config.model_type
    if kind == "bert" and config.hidden_act == "gelu" and not causal:
        return gguf.MODEL_ARCH.BERT, _bert
    rope = getattr(config, "rope_parameters", None) or {}
    plain = rope.get("rope_type", "default") == "default" and not getattr(config, "attention_bias", False)
    if kind == "llama" and config.hidden_act == "silu" and plain:
        return (gguf.MODEL_ARCH.LLAMA if causal else gguf.MODEL_ARCH.LLAMA_EMBED), _llama
    raise BackboneError(f"a network of kind {kind} with these settings is not written as GGUF here; {CONVERTER}")


def _bert(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_token_type_count(config.type_vocab_size)


def _llama(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    rope = getattr(config, "rope_parameters", None) or {}
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    writer.add_rope_dimension_count(width)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_vocab_size(config.vocab_size)


def _add_tensors(writer: GGUFWriter, network: PreTrainedModel, names: TensorNameMap) -> None:
    config = network.config
    llama = config.model_type == "llama"
    heads = {"q_proj": config.num_attention_heads, "k_proj": getattr(config, "num_key_value_heads", 0)}
    for name, tensor in network.state_dict().items():
        if name.startswith("pooler."):
            continue
        target = names.get_name(f"model.{name}" if llama else name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise BackboneError(f"llama.cpp has no tensor like {name}; {CONVERTER}")
        values: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
        part = name.split(".")[-2]
        if llama and part in heads:
            values = _interleaved(values, heads[part])
        whole = values.ndim < 2 or any(part in target for part in FLOAT32)
        writer.add_tensor(target, np.ascontiguousarray(values if whole else values.astype(np.float16)))


def _interleaved(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Return the rows of queries or keys as llama.cpp rotates them: pairs side by side, not half a head apart."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)
