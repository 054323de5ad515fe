"""Dropout that is fast on a CPU: none of attention weights, and one random byte for each element of a hidden state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

VALUES = 256
"""Values of a byte."""


class ByteDropout(nn.Module):
    """Dropout with a probability in steps of 1/256.

    torch draws one random number for each element, which takes a fifth of a training step of all-MiniLM-L6-v2. Here one
    draw of 64 bits decides eight elements. It comes from torch's generator, so a seed and a checkpoint repeat it.

    Attributes:
        dropped: Elements of 256 that are dropped, on average.
    """

    def __init__(self, p: float) -> None:
        """Round ``p``, which is below 1, to the nearest step."""
        super().__init__()
        self.dropped = round(p * VALUES)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with elements set to 0, and the others scaled so that the mean stays."""
        if not self.training or not self.dropped:
            return x
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped
        return x * kept.to(x.dtype).mul_(VALUES / (VALUES - self.dropped))


def make_dropout_fast(network: nn.Module) -> int:
    """Make a network's dropout fast on a CPU, in place; return the number of changes.

    A CPU has no fast attention with dropout of its weights: it costs a third of a step, and is turned off. Dropout of
    hidden states is replaced by :class:`ByteDropout`, unless its probability rounds to 0 or 1.
    """
    changed = 0
    for module in list(network.modules()):
        # What transformers calls the layer that computes attention: BertSelfAttention, LlamaAttention, ...
        if type(module).__name__.endswith("Attention"):
            changed += _stop(module)
        for name, child in module.named_children():
            if type(child) is nn.Dropout and 0 < round(child.p * VALUES) < VALUES:
                setattr(module, name, ByteDropout(child.p))
                changed += 1
    return changed


def _stop(attention: nn.Module) -> int:
    inner, stopped = getattr(attention, "dropout", None), 0
    if isinstance(inner, nn.Dropout) and inner.p:
        inner.p, stopped = 0.0, 1
    if vars(attention).get("attention_dropout"):
        vars(attention)["attention_dropout"], stopped = 0.0, stopped + 1
    return stopped
