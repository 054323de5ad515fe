"""Load any decoder, or any sentence-transformers checkpoint, as the model that experts start from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.embedded import EXPORT
from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.backbone.network import network_of
from stm_agent.backbone.precision import MIXED, require_bfloat16_products
from stm_agent.backbone.prompts import adopt_passage_prompt
from stm_agent.domain.spec import Attention, BackboneSpec
from stm_agent.errors import BackboneError, CheckFailed, first_line, raised_as
from stm_agent.files import read_json
from stm_agent.hub_faults import hub_fault

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.checkpoint import Settings
    from stm_agent.backbone.lean import LeanModel

logger = logging.getLogger(__name__)


def load_backbone(spec: BackboneSpec, *, packed: bool = True) -> SentenceTransformer:
    """Load the backbone a domain names.

    A sentence-transformers checkpoint keeps everything that the domain does not set: attention, pooling, prompts, max
    length, dense modules. Its vectors are always normalised, since they are trained and scored that way.

    Args:
        spec: Model, layers kept, attention, pooling, max length in tokens, EOS, dtype.
        packed: Use padding-free forwards if they give the same vectors as padded ones.

    Returns:
        A model with unit vectors and cosine similarity, in eval mode; only its network can be trained.

    Raises:
        BackboneError: The model cannot be loaded or does not fit the options.
        CheckFailed: Attention direction, EOS pooling or padding invariance is wrong.
    """
    from stm_agent.backbone.kernels import FLASH, attention_kernel

    device, dtype = placement(spec.dtype)
    kernel = attention_kernel(spec.kernel, device, dtype)
    try:
        return _load(spec, device, dtype, kernel, packed=packed)
    except BackboneError as error:
        if kernel != FLASH or spec.kernel != "auto":
            raise
        _log_without_flash(spec.model, str(error))
    return _load(spec, device, dtype, None, packed=packed)


def _load(
    spec: BackboneSpec, device: str, dtype: torch.dtype, kernel: str | None, *, packed: bool
) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import is_sentence_transformer_model

    from stm_agent.backbone.checkpoint import change_modules, layer_options, plain_modules, set_attention, set_text
    from stm_agent.backbone.embedded import resolve_model
    from stm_agent.backbone.kernels import uses_flash

    source = resolve_model(spec.model)
    with loading("backbone", spec.model):
        config = layer_options(source, spec)
        weights: Settings = {"dtype": dtype}
        if kernel is not None:
            weights["attn_implementation"] = kernel
        attention = spec.attention
        if is_sentence_transformer_model(source):
            model = SentenceTransformer(source, device=device, model_kwargs=weights, config_kwargs=config)
            change_modules(model, spec)
        else:
            model = SentenceTransformer(modules=plain_modules(source, spec, weights, config), device=device)
            attention = attention or "bidirectional"
        adopt_passage_prompt(model, spec.model)
        model.similarity_fn_name = "cosine"
        model.eval()
        if attention:
            set_attention(model, attention)
        set_text(model, spec)
        moved = _check(model, spec, attention)
    # FlashAttention packs texts by itself.
    if packed and not uses_flash(network_of(model)):
        pack_if_same(model, spec.model, moved)
    return model


def load_model(name: str) -> SentenceTransformer:
    """Load any sentence-transformers model unchanged: a folder, an ``embedded:`` name or a Hub name.

    A folder that ``stm-agent export`` wrote runs in the library of its format.
    With the prefix ``int8:`` the model gets int8 forwards.

    Raises:
        BackboneError: The model does not exist or cannot be loaded.
        ConfigError: The name has the prefix ``int8:`` and ONNX Runtime is not installed.
    """
    from stm_agent.backbone.embedded import INT8, resolve_model

    if name.startswith(INT8):
        from stm_agent.assets.pull import cache_folder
        from stm_agent.backbone.int8 import quantise

        return quantise(load_model(name.removeprefix(INT8)), cache_folder())
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.checkpoint import text_fault
    from stm_agent.backbone.checks import first_token_moves

    source = resolve_model(name)
    device, dtype = placement("auto")
    with loading("model", name):
        if (Path(source) / EXPORT).is_file() and read_json(Path(source) / EXPORT)["network"]:
            from stm_agent.backbone.session import load_exported

            return load_exported(Path(source))
        # On a GPU, the number format it was saved in, in which its published scores were measured.
        saved_dtype = "auto" if device == "cuda" else dtype
        model = SentenceTransformer(source, device=device, model_kwargs={"dtype": saved_dtype}).eval()
        adopt_passage_prompt(model, name)
    # Static and image models have no tokens to pack.
    if text_fault(model[0]) is None:
        pack_if_same(model, name, first_token_moves(network_of(model)))
    return model


def placement(dtype: str) -> tuple[str, torch.dtype]:
    """Return device and torch dtype.

    Raises:
        BackboneError: Half precision, or a product in bfloat16, on a CPU that emulates it.
    """
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    # transformers reports the weights of layers that were left out on purpose.
    transformers_logging.set_verbosity_error()
    on_gpu = torch.cuda.is_available()
    if dtype == MIXED:
        if not on_gpu:
            require_bfloat16_products()
        dtype = "float32"
    elif dtype == "auto":
        dtype = "bfloat16" if on_gpu else "float32"
    elif dtype != "float32" and not on_gpu:
        raise BackboneError(f"dtype {dtype} on a CPU is a hundred times slower than float32; set dtype: auto")
    return "cuda" if on_gpu else "cpu", getattr(torch, dtype)


@contextmanager
def loading(what: str, name: str) -> Iterator[None]:
    """Turn what three libraries raise about a checkpoint they cannot use into one line."""

    def unusable(error: BaseException) -> BackboneError:
        return BackboneError(f"cannot load {what} {name}: {hub_fault(error, name, 'model') or first_line(error)}")

    # transformers, sentence-transformers and safetensors share no base class of errors.
    with raised_as(unusable), memory_errors(f"loading {what} {name}"):
        yield


def _check(model: SentenceTransformer, spec: BackboneSpec, attention: Attention | None) -> float:
    """Run the checks of loading; return how far the first token's vector moves when the last token changes."""
    from stm_agent.backbone.checkpoint import pools_last
    from stm_agent.backbone.checks import check_attention_direction, check_eos_pooled, check_padding_invariance

    moved = check_attention_direction(model, attention)
    if spec.eos or (spec.eos is None and pools_last(model)):
        check_eos_pooled(model)
    check_padding_invariance(model)
    return moved


def pack_if_same(model: SentenceTransformer | LeanModel, name: str, moved: float) -> None:
    """Use the packed forward if it gives the same vectors as the padded one; otherwise log that once.

    Args:
        model: A loaded model.
        name: Its name, for the log.
        moved: How far the first token's vector moves when the last token changes.
    """
    from stm_agent.backbone.checks import TOLERANCE, check_packing

    try:
        check_packing(model, causal=moved < TOLERANCE)
    except CheckFailed as failed:
        _log_unpacked(name, str(failed))


@lru_cache
def _log_without_flash(name: str, reason: str) -> None:
    logger.warning("%s runs with torch's attention, FlashAttention failed: %s", name, reason)


@lru_cache
def _log_unpacked(name: str, reason: str) -> None:
    logger.warning("%s runs on padded batches, which is slower: %s", name, reason)
