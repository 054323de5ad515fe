"""A model as a GGUF file, which llama.cpp and what is built on it run: network, tokenizer, pooling.

llama.cpp's own converter is a script of its repository and in no package; its library of names and files (``gguf``) is.
Written here are the two families that this package adapts: BERT encoders, and Llama decoders in either direction of
attention. Whether llama.cpp computes the same vectors from the file is measured after every export.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CONVERTER = "llama.cpp's own script converts it, unscored: python convert_hf_to_gguf.py MODEL_FOLDER --outtype f16"
SPACE = "\u2581"
"""Stands for the start of a word in GGUF; BERT marks what is not the start, with ``##``."""
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: Mapping[str, str] = {LLAMA3: "llama-bpe", LLAMA3.replace("{1,3}", ""): "qwen2"}
"""Regular expression that splits a text into words -> llama.cpp's name of it."""
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
        _add_tokenizer(writer, model.tokenizer, config.vocab_size)
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


Settings = Callable[[Any, Any], None]
"""Adds what a family has beside sizes: of a ``GGUFWriter`` and a transformers config."""


def _family(config: Any, causal: bool) -> tuple[Any, Settings]:  # noqa: ANN401 - a transformers config, a gguf enum
    import gguf

    kind = config.model_type
    if kind == "bert" and config.hidden_act == "gelu" and not causal:
        return gguf.MODEL_ARCH.BERT, _bert
    rope = getattr(config, "rope_parameters", None) or {}
    plain = rope.get("rope_type", "default") == "default" and not getattr(config, "attention_bias", False)
    if kind == "llama" and config.hidden_act == "silu" and plain:
        return (gguf.MODEL_ARCH.LLAMA if causal else gguf.MODEL_ARCH.LLAMA_EMBED), _llama
    raise BackboneError(f"a network of kind {kind} with these settings is not written as GGUF here; {CONVERTER}")


def _bert(writer: Any, config: Any) -> None:  # noqa: ANN401 - gguf has no types that mypy is given
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_token_type_count(config.type_vocab_size)


def _llama(writer: Any, config: Any) -> None:  # noqa: ANN401 - as above
    rope: Mapping[str, Any] = getattr(config, "rope_parameters", None) or {}
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    writer.add_rope_dimension_count(width)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_vocab_size(config.vocab_size)


def _add_tensors(writer: Any, network: Any, names: Any) -> None:  # noqa: ANN401 - as above
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


def _add_tokenizer(writer: Any, tokenizer: Any, size: int) -> None:  # noqa: ANN401 - as above
    import gguf

    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = spec["model"]["type"]
    special = {row["id"]: row["special"] for row in spec["added_tokens"]}
    texts = {number: text for text, number in tokenizer.get_vocab().items()}
    tokens, types = [], []
    for number in range(size):
        text = texts.get(number)
        if text is None:
            tokens.append(f"[PAD{number}]")
            types.append(gguf.TokenType.UNUSED)
            continue
        control = special.get(number)
        tokens.append(_wordpiece(text) if kind == "WordPiece" and not control else text)
        of_control = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.USER_DEFINED, None: gguf.TokenType.NORMAL}
        types.append(of_control[control])
    if kind == "WordPiece":
        _add_wordpiece(writer, spec)
    elif kind == "BPE":
        _add_bpe(writer, spec)
    else:
        raise BackboneError(f"a tokenizer of kind {kind} is not written as GGUF here; {CONVERTER}")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    _add_ends(writer, tokenizer)


def _wordpiece(token: str) -> str:
    return token[2:] if token.startswith("##") else SPACE + token


def _add_wordpiece(writer: Any, spec: Mapping[str, Any]) -> None:  # noqa: ANN401 - as above
    normaliser = spec.get("normalizer") or {}
    lower = bool(normaliser.get("lowercase"))
    accents = normaliser.get("strip_accents")
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", lower)
    # BERT's own rule: unless it is said, accents go if letters are lowered.
    writer.add_bool("tokenizer.ggml.normalizer.strip_accents", lower if accents is None else bool(accents))


def _add_bpe(writer: Any, spec: Mapping[str, Any]) -> None:  # noqa: ANN401 - as above
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_words(spec.get("pre_tokenizer") or {}))
    merges = spec["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])


def _words(pre: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of the way a tokenizer splits a text into words."""
    steps = pre.get("pretokenizers") or [pre]
    kinds = [step.get("type") for step in steps]
    prefixed = any(step.get("add_prefix_space") for step in steps)
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True) and not prefixed:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and not prefixed:
        return "smollm"
    pattern: str | None = steps[0].get("pattern", {}).get("Regex") if kinds == ["Split", "ByteLevel"] else None
    if pattern is not None and pattern in SPLITS and not prefixed:
        return SPLITS[pattern]
    raise BackboneError(
        f"a tokenizer that splits words by {' + '.join(map(str, kinds))} is not written here; {CONVERTER}"
    )


def _add_ends(writer: Any, tokenizer: Any) -> None:  # noqa: ANN401 - as above
    """Name the special tokens, and those that stand at the ends of every text."""
    ids = tokenizer("a")["input_ids"]
    first = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    for add, number in (
        (writer.add_bos_token_id, first),
        (writer.add_eos_token_id, last),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_sep_token_id, tokenizer.sep_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
        (writer.add_mask_token_id, tokenizer.mask_token_id),
    ):
        if number is not None:
            add(number)
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    before, after = ids[: ids.index(bare[0])], ids[ids.index(bare[0]) + len(bare) :]
    if before not in ([], [first]) or after not in ([], [last]):
        raise BackboneError(f"llama.cpp puts one token at each end of a text, this tokenizer others; {CONVERTER}")
    writer.add_add_bos_token(bool(before))
    writer.add_add_eos_token(bool(after))
