"""QLoRA: the backbone's weights in 4 bits while an expert trains (Dettmers et al. 2023, arXiv 2305.14314).

Weights are NF4 with doubly quantised scales, by bitsandbytes; products are computed in the model's own dtype, and only
the LoRA factors are trained. The expert is merged and used with the whole backbone.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from stm_agent.errors import ConfigError


def hold_in_nf4(network: nn.Module) -> int:
    """Replace a network's linear layers by NF4 layers; return how many were replaced.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise ConfigError("train: qlora needs bitsandbytes: python -m pip install 'stm-agent[qlora]'") from error
    count = 0
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, _held(bitsandbytes, layer))
                count += 1
    return count


def _held(bitsandbytes: Any, layer: nn.Linear) -> nn.Module:  # noqa: ANN401 - a module
    weight = layer.weight.data
    held = bitsandbytes.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=weight.dtype,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    # On CPUs with AVX512-BF16, bitsandbytes repacks the weights for a kernel that it fetches from the Hub. That fails
    # on narrow layers, and rounds differently from all other machines.
    held.support_avx512bf16_for_cpu = False
    held.weight = bitsandbytes.nn.Params4bit(
        weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=held
    )
    if layer.bias is not None:
        held.bias = layer.bias
    # Moving it to its device is what quantises it.
    quantised: nn.Module = held.to(weight.device)
    return quantised
