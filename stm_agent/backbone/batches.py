"""How many texts are encoded at a time: what a CPU's caches like, or what a GPU's free memory holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.lean import LeanModel

CPU_TEXTS, SHORT = 64, 64
"""Texts of a batch on a CPU, of up to so many tokens; of longer ones there are fewer, so that their activations stay in
the caches."""
GPU_TEXTS = 4096
"""Most texts of a batch on a GPU; beyond that the padding of the shortest outweighs a fuller batch."""
LEAST_TOKENS, MOST_TOKENS = 2**12, 2**19
"""Bounds of a batch's tokens on a GPU: fewer leave it idle, more gain nothing."""
SHARE = 0.5
"""Share of the free memory that a batch may take; the rest is for the allocator's gaps and the next batch's texts."""
HIDDEN_COPIES, WIDE_COPIES = 10, 3
"""Vectors of a token that live at once in a layer's forward: of the hidden size (residual, norms, queries, keys,
values, output) and of the feed-forward's width."""


@dataclass(frozen=True)
class Room:
    """What a batch may hold.

    Attributes:
        texts: Texts, at most.
        tokens: Tokens, padding included, at most.
    """

    texts: int
    tokens: int

    def texts_of(self, length: int) -> int:
        """Return how many texts of at most ``length`` tokens fit; at least one."""
        return max(1, min(self.texts, self.tokens // max(1, length)))

    def halved(self) -> Room:
        """Return half the room."""
        return replace(self, texts=max(1, self.texts // 2), tokens=max(1, self.tokens // 2))


CPU_ROOM = Room(CPU_TEXTS, CPU_TEXTS * SHORT)


def gpu_room(free_bytes: int, token_bytes: int) -> Room:
    """Return the room of a GPU.

    Args:
        free_bytes: Its free memory.
        token_bytes: What a token takes in a forward.
    """
    tokens = int(SHARE * free_bytes / token_bytes)
    return Room(GPU_TEXTS, min(MOST_TOKENS, max(LEAST_TOKENS, tokens)))


def room_of(model: SentenceTransformer | LeanModel) -> Room:
    """Return the room on the device where a model lies."""
    if model.device.type != "cuda":
        return CPU_ROOM
    import torch

    free_bytes, _ = torch.cuda.mem_get_info(model.device)
    return gpu_room(free_bytes, bytes_of_token(model))


def bytes_of_token(model: SentenceTransformer | LeanModel) -> int:
    """Return the memory that a token takes in a forward without gradients, by the sizes in the network's config."""
    from stm_agent.backbone.network import network_of

    network = network_of(model)
    config = network.config.get_text_config()
    hidden = int(config.hidden_size)
    wide = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    return (HIDDEN_COPIES * hidden + WIDE_COPIES * wide) * int(network.dtype.itemsize)
