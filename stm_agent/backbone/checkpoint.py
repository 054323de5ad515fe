"""Apply the domain's options to a checkpoint: layers, attention, pooling, max length, EOS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stm_agent.domain.spec import Attention, BackboneSpec
from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn
    from transformers import PreTrainedTokenizerBase

Settings = dict[str, object]
"""Keyword arguments of a library's loader, or values of a network's config."""
LENGTH = 48
"""Tokens of a text that are read if neither the domain nor the checkpoint sets a length."""


def layer_options(source: str, spec: BackboneSpec) -> Settings:
    """Return the config values that keep only the first layers; lists with one entry a layer are cut as well.

    Raises:
        BackboneError: The model has fewer layers than the domain asks for.
    """
    from transformers import AutoConfig

    if spec.layers is None:
        return {}
    config = AutoConfig.from_pretrained(source)
    has = config.num_hidden_layers
    if spec.layers > has:
        raise BackboneError(
            f"backbone {spec.model} has {has} layers, the domain asks for {spec.layers}; lower 'layers'"
        )
    listed = {
        name: value[: spec.layers]
        for name, value in config.to_dict().items()
        if name.endswith(("layer_types", "_layers")) and isinstance(value, list) and len(value) == has
    }
    return {**listed, "num_hidden_layers": spec.layers}


def plain_modules(source: str, spec: BackboneSpec, weights: Settings, config: Settings) -> list[nn.Module]:
    """Return Transformer, Pooling and Normalize for a model that was not saved by sentence-transformers."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    module = Transformer(
        source,
        max_seq_length=spec.max_length or LENGTH,
        # Without this, an instruct model's chat template would turn every text into a chat.
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
        model_kwargs=weights,
        config_kwargs=config,
    )
    _require_text(module, spec)
    module.tokenizer.padding_side = "right"
    return [module, Pooling(module.get_embedding_dimension(), pooling_mode=spec.pooling or "mean"), Normalize()]


def change_modules(model: SentenceTransformer, spec: BackboneSpec) -> None:
    """Set pooling and length of a sentence-transformers checkpoint as the domain says, in place; keep everything else.

    Raises:
        BackboneError: It has no transformer for text, or the domain sets a pooling and it has none.
    """
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    _require_text(model[0], spec)
    if spec.pooling:
        poolings = [index for index, module in enumerate(model) if isinstance(module, Pooling)]
        if not poolings:
            raise BackboneError(f"backbone {spec.model} has no pooling of its own to change; leave out 'pooling'")
        first: Any = model[0]
        model[poolings[0]] = Pooling(first.get_embedding_dimension(), pooling_mode=spec.pooling)
    if spec.max_length:
        model.max_seq_length = spec.max_length
    # The prompts stay, but a text gets the one for queries or passages, never a default one.
    model.default_prompt_name = None
    if not isinstance(model[-1], Normalize):
        model.append(Normalize())
    # An adapter stores what the network learns; what a dense module learnt would be lost.
    for module in list(model)[1:]:
        module.requires_grad_(False)


def text_fault(module: nn.Module) -> str | None:
    """Return why a model cannot be a backbone, which needs a hidden state for each token of a text; None if it can."""
    from sentence_transformers.sentence_transformer.modules import Transformer

    if not isinstance(module, Transformer):
        return f"is a {type(module).__name__}, which has no hidden state for each token; name a text model"
    text = module.modality_config.get("text")
    if text is None or text["method_output_name"] != "last_hidden_state":
        return f"is a {module.config.model_type}, which has no hidden state for each token; name a text model"
    if module.tokenizer is None:
        return f"is a {module.config.model_type} without a tokenizer; name a text model"
    if getattr(module.model, "_hf_peft_config_loaded", False):
        return "is a LoRA adapter; fold it into its base model first"
    return None


def _require_text(module: nn.Module, spec: BackboneSpec) -> None:
    fault = text_fault(module)
    if fault:
        raise BackboneError(f"backbone {spec.model} {fault}")


def set_attention(model: SentenceTransformer, attention: Attention) -> None:
    """Set the attention direction, in place; a network that is bidirectional already keeps its own way to be so."""
    from stm_agent.backbone.checks import TOLERANCE, first_token_moves
    from stm_agent.backbone.kernels import set_module_direction, uses_flash
    from stm_agent.backbone.network import network_of

    network = network_of(model)
    if uses_flash(network):
        set_module_direction(network, causal=attention == "causal")
    if attention == "causal" or first_token_moves(network) < TOLERANCE:
        # transformers reads this at every forward and saves it with the model; a keyword at loading has no effect.
        network.config.is_causal = attention == "causal"


def set_text(model: SentenceTransformer, spec: BackboneSpec) -> None:
    """Set padding token and EOS of the tokenizer, in place.

    Raises:
        BackboneError: The domain asks for more tokens than the network has positions, or the tokenizer lacks an EOS.
    """
    from stm_agent.backbone.network import network_of

    tokenizer = model.tokenizer
    positions = getattr(network_of(model).config.get_text_config(), "max_position_embeddings", None)
    if spec.max_length and positions and spec.max_length > positions:
        raise BackboneError(
            f"backbone {spec.model} reads {positions} tokens, the domain asks for {spec.max_length}; lower 'max_length'"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if spec.eos or (spec.eos is None and spec.pooling == "lasttoken"):
        _append_eos(tokenizer, spec)


def pools_last(model: SentenceTransformer) -> bool:
    """Return whether a vector is, or contains, the vector of the last token."""
    return any("lasttoken" in getattr(module, "pooling_mode", ()) for module in model)


def _append_eos(tokenizer: PreTrainedTokenizerBase, spec: BackboneSpec) -> None:
    """End every text with EOS unless the tokenizer ends it with a special token already.

    Several fast tokenizers silently ignore ``add_eos_token``. The tokenizer's own post-processor is set instead, which
    is saved with the model and works everywhere.
    """
    from tokenizers.processors import Sequence, TemplateProcessing

    ids = tokenizer("one")["input_ids"]
    if ids and ids[-1] in tokenizer.all_special_ids:
        return
    eos = tokenizer.eos_token
    if eos is None:
        raise BackboneError(f"the tokenizer of {spec.model} has no EOS token; set eos: false or pooling: mean")
    end = TemplateProcessing(single=f"$A {eos}", pair=f"$A $B {eos}", special_tokens=[(eos, tokenizer.eos_token_id)])
    backend = tokenizer.backend_tokenizer
    # The existing post-processor is kept, since many put a token in front of every text.
    backend.post_processor = end if backend.post_processor is None else Sequence([backend.post_processor, end])
