"""Random decoders, and an encoder, small enough for unit tests, with a real tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

Architecture = Literal[
    "llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi", "phi3", "mistral", "smollm3", "bert"
]
SENTENCES = (
    "the quick brown fox jumps over the lazy dog",
    "a question and the passage that answers it",
    "pain in the left knee after running, with swelling and a feeling of heat",
    "how does the heart move blood through the body, and what happens when it stops",
    "water boils at a lower temperature on a high mountain",
)


def pico_decoder(
    folder: Path,
    *,
    layers: int = 2,
    hidden: int = 32,
    architecture: Architecture = "llama",
    window: int | None = None,
    eos: bool = False,
    seed: int = 0,
) -> Path:
    """Write a seeded random decoder as a transformers folder.

    Args:
        folder: Where to write.
        layers: Decoder layers.
        hidden: Width; a multiple of 8.
        architecture: Model type.
        window: Sliding window of the architectures that have one, in tokens; None: the architecture's own.
        eos: Whether its tokenizer ends every text with EOS.
        seed: Seed of the weights.

    Returns:
        ``folder``, loadable by ``AutoModel`` and ``AutoTokenizer``.
    """
    import torch
    from transformers import AutoModel

    tokenizer = _tokenizer(eos=eos)
    config = _config(architecture, layers, hidden, len(tokenizer), window)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pico_checkpoint(
    folder: Path,
    *,
    architecture: Architecture = "bert",
    pooling: str = "mean",
    dense: int | None = None,
    max_length: int = 64,
    prompts: dict[str, str] | None = None,
    eos: bool = False,
    seed: int = 0,
) -> Path:
    """Write a seeded random sentence-transformers checkpoint, without a Normalize module.

    Args:
        folder: Where to write.
        architecture: Model type.
        pooling: Its own pooling.
        dense: Width of a dense module behind the pooling; None: no such module.
        max_length: Its own length, in tokens.
        prompts: Its own prompts.
        eos: Whether its tokenizer ends every text with EOS.
        seed: Seed of the weights.

    Returns:
        The checkpoint's folder, loadable by ``SentenceTransformer``.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    network = pico_decoder(folder / "network", architecture=architecture, eos=eos, seed=seed)
    module = Transformer(str(network), max_seq_length=max_length)
    modules: list[torch.nn.Module] = [module, Pooling(module.get_embedding_dimension(), pooling_mode=pooling)]
    if dense is not None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            modules.append(Dense(module.get_embedding_dimension(), dense))
    model = SentenceTransformer(modules=modules, device="cpu", prompts=prompts)
    model.save(str(folder / "checkpoint"), create_model_card=False)
    return folder / "checkpoint"


def _tokenizer(*, eos: bool) -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
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
    if eos:
        end = [("</s>", core.token_to_id("</s>"))]
        core.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A $B </s>", special_tokens=end)
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>")  # noqa: S106


_CONFIGS: dict[Architecture, str] = {
    "llama": "LlamaConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "gemma": "GemmaConfig",
    "gemma2": "Gemma2Config",
    "gemma3": "Gemma3TextConfig",
    "phi": "PhiConfig",
    "phi3": "Phi3Config",
    "mistral": "MistralConfig",
    "smollm3": "SmolLM3Config",
    "bert": "BertConfig",
}


def _config(
    architecture: Architecture, layers: int, hidden: int, vocabulary: int, window: int | None
) -> PreTrainedConfig:
    import transformers

    sizes: dict[str, object] = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 1,
    }
    if architecture != "bert":
        sizes["num_key_value_heads"] = 2
    if architecture in ("gemma", "gemma2", "gemma3", "qwen3"):
        sizes["head_dim"] = hidden // 4
    if window is not None:
        # Of two kinds of layers the last ones slide, so that both kinds are there.
        sizes |= {"sliding_window": window, "use_sliding_window": True, "max_window_layers": layers // 2}
    config: PreTrainedConfig = getattr(transformers, _CONFIGS[architecture])(**sizes)
    return config
