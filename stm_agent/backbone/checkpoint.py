"""Make a checkpoint what the domain asks for: layers, attention, pooling, max length, EOS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stm_agent.domain.spec import Attention, BackboneSpec
from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LENGTH = 48
"""Tokens of a text that are read where neither domain nor checkpoint says so."""


def layer_options(source: str, spec: BackboneSpec) -> dict[str, Any]:
    """Return the config values that keep the first layers; what a config lists for each layer is cut as well.

    Raises:
        BackboneError: There are fewer layers than asked for.
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


def plain_modules(source: str, spec: BackboneSpec, weights: dict[str, Any], config: dict[str, Any]) -> list[Any]:
    """Return Transformer, Pooling and Normalize of a model that sentence-transformers did not save."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    module = Transformer(
        source,
        max_seq_length=spec.max_length or LENGTH,
        # Plain text: an instruct model's chat template would wrap every text in a chat of its own.
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
        model_kwargs=weights,
        config_kwargs=config,
    )
    _require_text(module, spec)
    module.tokenizer.padding_side = "right"
    return [module, Pooling(module.get_embedding_dimension(), pooling_mode=spec.pooling or "mean"), Normalize()]


def change_modules(model: SentenceTransformer, spec: BackboneSpec) -> None:
    """Set the pooling and length the domain names in a sentence-transformers checkpoint, in place; all else stays.

    Raises:
        BackboneError: It has no transformer that reads text, or no pooling that could be set.
    """
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    _require_text(model[0], spec)
    if spec.pooling:
        places = [place for place, module in enumerate(model) if isinstance(module, Pooling)]
        if not places:
            raise BackboneError(f"backbone {spec.model} has no pooling of its own to change; leave out 'pooling'")
        first: Any = model[0]
        model[places[0]] = Pooling(first.get_embedding_dimension(), pooling_mode=spec.pooling)
    if spec.max_length:
        model.max_seq_length = spec.max_length
    # The prompts stay, but a text gets the one of its side, never a default one.
    model.default_prompt_name = None
    if not isinstance(model[-1], Normalize):
        model.append(Normalize())
    # An adapter holds what the network learns; what a dense module learnt besides would be lost.
    for module in list(model)[1:]:
        module.requires_grad_(False)


def text_fault(module: Any) -> str | None:  # noqa: ANN401 - the first module of any model
    """Return why a model cannot be a backbone, which reads text and has a hidden state for each token; None: it can."""
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


def _require_text(module: Any, spec: BackboneSpec) -> None:  # noqa: ANN401 - the first module of any model
    fault = text_fault(module)
    if fault:
        raise BackboneError(f"backbone {spec.model} {fault}")


def set_attention(model: SentenceTransformer, attention: Attention) -> None:
    """Set the attention direction, in place; a network that sees ahead already may do so in a way of its own."""
    from stm_agent.backbone.checks import TOLERANCE, first_token_moves
    from stm_agent.backbone.network import network_of

    network = network_of(model)
    if attention == "causal" or first_token_moves(network) < TOLERANCE:
        # Read by transformers at every forward, and saved with the model; a keyword at loading is not applied.
        network.config.is_causal = attention == "causal"


def set_text(model: SentenceTransformer, spec: BackboneSpec) -> None:
    """Set padding token and EOS of the tokenizer, in place.

    Raises:
        BackboneError: More tokens are asked for than the network has positions, or there is no EOS to append.
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
    """Return whether a vector is, or holds, the last token's."""
    return any("lasttoken" in getattr(module, "pooling_mode", ()) for module in model)


def _append_eos(tokenizer: Any, spec: BackboneSpec) -> None:  # noqa: ANN401 - a transformers tokenizer
    """End every text with EOS unless the tokenizer ends it with a special token already.

    ``add_eos_token`` is silently ignored by several fast tokenizers, so the post-processor of the
    tokenizer itself is set: it is saved with the model and works everywhere.
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
    # What it does already stays: many put a token in front of every text.
    backend.post_processor = end if backend.post_processor is None else Sequence([backend.post_processor, end])
