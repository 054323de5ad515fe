"""Random decoders small enough for unit tests, with a real tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

Architecture = Literal["llama", "qwen2", "qwen3", "gemma", "phi3", "mistral"]
SENTENCES = (
    "the quick brown fox jumps over the lazy dog",
    "a question and the passage that answers it",
    "pain in the left knee after running, with swelling and a feeling of heat",
    "how does the heart move blood through the body, and what happens when it stops",
    "water boils at a lower temperature on a high mountain",
)


def pico_decoder(
    folder: Path, *, layers: int = 2, hidden: int = 32, architecture: Architecture = "llama", seed: int = 0
) -> Path:
    """Write a seeded random decoder as a transformers folder.

    Args:
        folder: Where to write.
        layers: Decoder layers.
        hidden: Width; a multiple of 8.
        architecture: Model type.
        seed: Seed of the weights.

    Returns:
        ``folder``, loadable by ``AutoModel`` and ``AutoTokenizer``.
    """
    import torch
    from transformers import AutoModel

    tokenizer = _tokenizer()
    config = _config(architecture, layers, hidden, len(tokenizer))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:  # noqa: ANN401 - a transformers tokenizer
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>")  # noqa: S106


def _config(architecture: Architecture, layers: int, hidden: int, vocabulary: int) -> Any:  # noqa: ANN401
    import transformers

    names = {
        "llama": "Llama",
        "qwen2": "Qwen2",
        "qwen3": "Qwen3",
        "gemma": "Gemma",
        "phi3": "Phi3",
        "mistral": "Mistral",
    }
    sizes: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 1,
    }
    if architecture in ("gemma", "qwen3"):
        sizes["head_dim"] = hidden // 4
    return getattr(transformers, f"{names[architecture]}Config")(**sizes)
