"""A tokenizer in a GGUF file: its tokens, the way it splits words, and what stands at the ends of a text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

CONVERTER = "llama.cpp's own script converts it, unscored: python convert_hf_to_gguf.py MODEL_FOLDER --outtype f16"
SPACE = "\u2581"
"""Stands for the start of a word in GGUF; BERT marks what is not the start, with ``##``."""
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: Mapping[str, str] = {LLAMA3: "llama-bpe", LLAMA3.replace("{1,3}", ""): "qwen2"}
"""Regular expression that splits a text into words -> llama.cpp's name of it."""


class _Model(TypedDict):
    type: str
    merges: Sequence[str | Sequence[str]]


class _AddedToken(TypedDict):
    id: int
    special: bool


class _Normalizer(TypedDict, total=False):
    lowercase: bool
    strip_accents: bool | None


class _Step(TypedDict, total=False):
    type: str
    add_prefix_space: bool
    use_regex: bool
    individual_digits: bool
    pattern: Mapping[str, str]


class _Splitting(_Step, total=False):
    pretokenizers: Sequence[_Step]


class _Spec(TypedDict):
    """The parts of a ``tokenizer.json`` that are read here; ``merges`` is there only if the model is BPE."""

    model: _Model
    added_tokens: Sequence[_AddedToken]
    normalizer: _Normalizer | None
    pre_tokenizer: _Splitting | None


def add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
    """Add a fast tokenizer to a file.

    Args:
        writer: Writes the file.
        tokenizer: The tokenizer.
        size: Tokens that the network has vectors of; those that the tokenizer lacks are padding.

    Raises:
        BackboneError: The tokenizer is of a kind that is not written here.
    """
    import gguf

    spec: _Spec = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = spec["model"]["type"]
    special = {row["id"]: row["special"] for row in spec["added_tokens"]}
    texts = {number: text for text, number in tokenizer.get_vocab().items()}
    of_control = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.USER_DEFINED, None: gguf.TokenType.NORMAL}
    tokens, types = [], []
    for number in range(size):
        text = texts.get(number)
        if text is None:
            tokens.append(f"[PAD{number}]")
            types.append(gguf.TokenType.UNUSED)
            continue
        control = special.get(number)
        tokens.append(_wordpiece(text) if kind == "WordPiece" and not control else text)
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


def _add_wordpiece(writer: GGUFWriter, spec: _Spec) -> None:
    normaliser = spec.get("normalizer") or {}
    lower = bool(normaliser.get("lowercase"))
    accents = normaliser.get("strip_accents")
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", lower)
    # BERT's own rule: unless it is said, accents go if letters are lowered.
    writer.add_bool("tokenizer.ggml.normalizer.strip_accents", lower if accents is None else bool(accents))


def _add_bpe(writer: GGUFWriter, spec: _Spec) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_words(spec.get("pre_tokenizer") or {}))
    merges = spec["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])


def _words(splitting: _Splitting) -> str:
    """Return llama.cpp's name of the way a tokenizer splits a text into words."""
    steps = splitting.get("pretokenizers") or [splitting]
    kinds = [step.get("type") for step in steps]
    prefixed = any(step.get("add_prefix_space") for step in steps)
    name = None if prefixed else _name_of_splitting(kinds, steps[0])
    if name is None:
        raise BackboneError(
            f"a tokenizer that splits words by {' + '.join(map(str, kinds))} is not written here; {CONVERTER}"
        )
    return name


def _name_of_splitting(kinds: Sequence[str | None], first: _Step) -> str | None:
    match kinds:
        case ["ByteLevel"] if first.get("use_regex", True):
            return "gpt-2"
        case ["Digits", "ByteLevel"] if first.get("individual_digits"):
            return "smollm"
        case ["Split", "ByteLevel"]:
            return SPLITS.get(first.get("pattern", {}).get("Regex", ""))
    return None


def _add_ends(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
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
