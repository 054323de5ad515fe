"""LoRA's forward and backward in fewer passes over memory; the same numbers as peft's.

peft computes ``x W' + (x A' B') s`` as separate tensors of the output's size, and autograd adds their gradients. On a
CPU each of these passes costs a large part of a matrix product. Here both products are accumulated in one buffer,
forward and backward (``addmm``), and the scale is applied to the rank-sized tensor between A and B.

In mixed precision the products with the frozen weights, nearly all of a step's arithmetic, are computed in bfloat16.
LoRA's own products and their gradients, attention and everything else stay in float32; torch's autocast would also
compute attention in bfloat16, whose gradient is several times slower on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from peft.tuners.lora.layer import Linear

IN_BFLOAT16 = "_in_bfloat16"
"""Attribute of a layer with its frozen weight and bias in bfloat16, while products are mixed."""


class _LoraLinear(torch.autograd.Function):
    """``x W' + b + s (x A') B'`` for rows ``x [rows, in]``; W and b are frozen, their dtype is that of ``x W'``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:  # noqa: ANN401
        down = (x @ a.T).mul_(scale)
        ctx.save_for_backward(x, weight, a, b, down)
        ctx.scale = scale
        return nn.functional.linear(x.to(weight.dtype), weight, bias).to(x.dtype).addmm_(down, b.T)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        grad = grads[0]
        x, weight, a, b, down = ctx.saved_tensors
        up = (grad @ b).mul_(ctx.scale)
        into = (grad.to(weight.dtype) @ weight).to(grad.dtype).addmm_(up, a) if ctx.needs_input_grad[0] else None
        return into, None, None, up.T @ x, grad.T @ down, None


def _forward(self: Linear, x: Tensor, *args: object, **kwargs: object) -> Tensor:
    if args or kwargs or not _simple(self, x):
        plain: Tensor = type(self).forward(self, x, *args, **kwargs)
        return plain
    name = self.active_adapters[0]
    weight, bias = getattr(self, IN_BFLOAT16, None) or (self.base_layer.weight, self.base_layer.bias)
    rows = x.reshape(-1, x.shape[-1])
    a, b = self.lora_A[name].weight, self.lora_B[name].weight
    out: Tensor = _LoraLinear.apply(rows, weight, bias, a, b, self.scaling[name])  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], out.shape[-1])


def _simple(layer: Linear, x: Tensor) -> bool:
    """Return whether this is plain LoRA: one adapter, not merged, no dropout or DoRA, and a single dtype."""
    # Autocast changes dtypes between the products, and has no effect inside our own backward.
    if torch.is_autocast_enabled(x.device.type):
        return False
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    name = layer.active_adapters[0]
    if name not in layer.lora_A or layer.use_dora.get(name) or name in layer.lora_variant:
        return False
    if not isinstance(layer.lora_dropout[name], nn.Identity) or layer.lora_B[name].bias is not None:
        return False
    weights = (layer.base_layer.weight, layer.lora_A[name].weight, layer.lora_B[name].weight)
    return all(weight.dtype == x.dtype for weight in weights)


def fuse_lora(network: nn.Module) -> int:
    """Give every plain LoRA linear layer of a peft model the fused forward, in place; return how many.

    Layers that cannot be fused (dropout, DoRA, several adapters, quantised weights) keep peft's forward.
    """
    count = 0
    for layer in _linear_layers(network):
        layer.forward = _forward.__get__(layer)
        count += 1
    return count


@contextmanager
def mixed_products(network: nn.Module) -> Iterator[None]:
    """Inside the block, compute the products of fused layers with their frozen weights in bfloat16."""
    layers = list(_linear_layers(network))
    for layer in layers:
        base = layer.base_layer
        setattr(layer, IN_BFLOAT16, (base.weight.bfloat16(), None if base.bias is None else base.bias.bfloat16()))
    try:
        yield
    finally:
        for layer in layers:
            delattr(layer, IN_BFLOAT16)


def _linear_layers(network: nn.Module) -> Iterator[Any]:
    from peft.tuners.lora.layer import Linear

    for module in network.modules():
        if isinstance(module, Linear) and type(module.base_layer) is nn.Linear:
            yield module
