"""A network as an ONNX graph of padded batches, whole or with int8 matrix products."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stm_agent.backbone.runtime import INPUTS, OUTPUT
from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LARGEST = 2**31
"""Largest size of an ONNX file, in bytes."""


class _Padded(nn.Module):
    """The network as a function of ids and mask; the mask that attention needs is part of the graph."""

    def __init__(self, network: nn.Module, *, causal: bool, left: bool) -> None:
        super().__init__()
        self.network, self.causal, self.left = network, causal, left

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        # Padding on the left moves the text; otherwise the network counts its positions as it was trained to.
        positions = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if self.left else {}
        allowed = mask[:, None, None, :].bool()
        if self.causal:
            columns = torch.arange(ids.shape[1])
            allowed = allowed & (columns[:, None] >= columns[None, :])[None, None]
        else:
            allowed = allowed.expand(-1, 1, ids.shape[1], -1)
        # The lowest number, not minus infinity: a row of padding that sees nothing would be divided by zero.
        lowest = torch.finfo(torch.float32).min
        additive = torch.zeros_like(allowed, dtype=torch.float32).masked_fill(~allowed, lowest)
        output = self.network(input_ids=ids, attention_mask=additive, use_cache=False, **positions)
        hidden: Tensor = output.last_hidden_state
        return hidden


def write_graph(model: SentenceTransformer, path: Path) -> None:
    """Write the network of a loaded model as an ONNX file.

    Raises:
        BackboneError: The network is too large for one file, or sees long texts through windows.
    """
    from stm_agent.backbone.checks import TOLERANCE, first_token_moves
    from stm_agent.backbone.network import network_of

    network = network_of(model)
    if sum(weight.nbytes for weight in network.parameters()) >= LARGEST:
        raise BackboneError("this model is larger than an ONNX file of 2 GiB; export --format fp16")
    config = network.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    if window and kinds != {"full_attention"} and window < (model.max_seq_length or window + 1):
        raise BackboneError("this model sees long texts through windows; export --format fp16")
    causal = first_token_moves(network) < TOLERANCE
    example = (torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long))
    free = {0: "texts", 1: "length"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):
        # The tracer warns of values that it takes for constants; here they are.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Padded(network, causal=causal, left=model.tokenizer.padding_side == "left").eval(),
            example,
            str(path),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes=dict.fromkeys((*INPUTS, OUTPUT), free),
            dynamo=False,
        )


def write_int8_graph(model: SentenceTransformer, path: Path) -> None:
    """Write the network with int8 matrix products; those whose input has outliers stay in float32.

    Raises:
        BackboneError: As :func:`write_graph`.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from stm_agent.backbone.int8 import layers_with_outliers, products

    plain = path.with_name("plain.onnx")
    whole: Sequence[str] = layers_with_outliers(model)
    write_graph(model, plain)
    options: dict[str, object] = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
    excluded = products(plain, whole)
    quantize_dynamic(plain, path, op_types_to_quantize=["MatMul"], nodes_to_exclude=excluded, **options)
    plain.unlink()
