"""Dropout that costs a CPU little: none of attention weights, and masks of hidden states drawn a byte a number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BYTE = 256


class ByteDropout(nn.Module):
    """Dropout with a probability in steps of 1/256.

    torch draws one random number for each element, which takes a fifth of a training step of all-MiniLM-L6-v2. Here one
    draw of 64 bits decides eight elements. It comes from torch's generator, so a seed and a checkpoint repeat it.

    Attributes:
        dropped: Elements of 256 that are dropped, on average.
    """

    def __init__(self, p: float) -> None:
        """Round ``p`` to the nearest step."""
        super().__init__()
        self.dropped = round(p * BYTE)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with elements set to 0, and the others scaled so that the mean stays."""
        if not self.training or not self.dropped:
            return x
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped
        return x * kept.to(x.dtype).mul_(BYTE / (BYTE - self.dropped))


def lighten_dropout(network: nn.Module) -> int:
    """Replace a network's dropout by what costs a CPU little, in place; return the number of modules that changed.

    A CPU has no fast attention with dropout of its weights: it costs a third of a step, and is left out.
    """
    changed = 0
    for module in list(network.modules()):
        # What transformers calls the layer that computes attention: BertSelfAttention, LlamaAttention, ...
        if type(module).__name__.endswith("Attention"):
            changed += _stop(module)
        for name, child in module.named_children():
            if type(child) is nn.Dropout and child.p:
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
