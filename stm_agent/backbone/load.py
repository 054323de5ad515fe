"""Load a decoder as an encoder: layers kept, attention direction, pooling, dtype by device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def network_of(model: SentenceTransformer) -> Any:  # noqa: ANN401 - a transformers model, with or without peft
    """Return the decoder (or encoder) inside a sentence-transformers model."""
    return model[0].model


def _device() -> tuple[str, Any]:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    # Layers left out on purpose are reported as unexpected weights.
    logging.set_verbosity_error()

    # Half precision is emulated on a CPU: about a hundredth of the speed.
    return ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)


def load_backbone(spec: BackboneSpec, *, packed: bool = True) -> SentenceTransformer:
    """Load the backbone a domain names.

    Args:
        spec: Model, layers kept, attention, pooling, max length in tokens.
        packed: Use padding-free forwards.

    Returns:
        Transformer, Pooling and Normalize modules; cosine similarity; in eval mode.

    Raises:
        BackboneError: The model cannot be loaded or has fewer layers than asked for.
        CheckFailed: The attention direction or the EOS pooling is not what was asked for.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    from stm_agent.backbone.checks import check_attention_direction, check_eos_pooled
    from stm_agent.backbone.embedded import resolve_model

    device, dtype = _device()
    source = str(resolve_model(spec.model))
    config: dict[str, Any] = {"use_cache": False}
    if spec.layers is not None:
        config["num_hidden_layers"] = _layers(source, spec)
    try:
        module = Transformer(
            source,
            max_seq_length=spec.max_length,
            model_kwargs={"dtype": dtype},
            config_kwargs=config,
            # Plain text: an instruct model's chat template would wrap every text in a chat of its own.
            modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            module_output_name="token_embeddings",
        )
    except (OSError, ValueError) as error:
        raise BackboneError(f"cannot load backbone {spec.model}: {str(error).splitlines()[0]}") from error
    # Read by transformers at every forward, and saved with the model; a keyword at loading is not applied.
    module.model.config.is_causal = spec.attention == "causal"
    _set_tokenizer(module.tokenizer, spec)
    pooling = Pooling(module.get_embedding_dimension(), pooling_mode=spec.pooling)
    model = SentenceTransformer(modules=[module, pooling, Normalize()], device=device, similarity_fn_name="cosine")
    model.eval()
    check_attention_direction(model, spec.attention)
    if spec.pooling == "lasttoken":
        check_eos_pooled(model)
    if packed:
        _pack(model)
    return model


def load_model(name: str) -> SentenceTransformer:
    """Load any sentence-transformers model as it is: a folder, an ``embedded:`` name or a Hub name.

    Raises:
        BackboneError: There is no such model, or it cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.embedded import resolve_model

    device, dtype = _device()
    try:
        model = SentenceTransformer(str(resolve_model(name)), device=device, model_kwargs={"dtype": dtype})
    except (OSError, ValueError) as error:
        raise BackboneError(f"cannot load model {name}: {str(error).splitlines()[0]}") from error
    if getattr(network_of(model).config, "is_causal", None) is not None and hasattr(network_of(model), "layers"):
        _pack(model)
    return model.eval()


def _pack(model: SentenceTransformer) -> None:
    from stm_agent.backbone.packed import PackedTransformer

    PackedTransformer.wrap(model[0])


def _layers(source: str, spec: BackboneSpec) -> int:
    from transformers import AutoConfig

    try:
        has = AutoConfig.from_pretrained(source).num_hidden_layers
    except (OSError, ValueError, AttributeError) as error:
        raise BackboneError(f"cannot load backbone {spec.model}: {str(error).splitlines()[0]}") from error
    if spec.layers is not None and spec.layers > has:
        raise BackboneError(
            f"backbone {spec.model} has {has} layers, the domain asks for {spec.layers}; lower 'layers'"
        )
    return spec.layers or has


def _set_tokenizer(tokenizer: Any, spec: BackboneSpec) -> None:  # noqa: ANN401 - a transformers tokenizer
    """Pad on the right; end every text with EOS where the last token is pooled.

    ``add_eos_token`` is silently ignored by several fast tokenizers, so the post-processor of the
    tokenizer itself is set: it is saved with the model and works everywhere.
    """
    from tokenizers.processors import TemplateProcessing

    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if spec.pooling == "lasttoken":
        eos = tokenizer.eos_token
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"$A {eos}", pair=f"$A $B {eos}", special_tokens=[(eos, tokenizer.eos_token_id)]
        )
