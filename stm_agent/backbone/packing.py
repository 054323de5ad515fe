"""Padding-free forwards on any device: the texts of a batch share rows, attention is block-diagonal.

A padded batch of short texts is mostly padding, and a CPU computes every padded token. Here the valid tokens are packed
into rows of one of the lengths of :data:`ROWS` (first-fit decreasing, as in bin packing). A 4-D mask separates the
texts, and positions restart in each, so every token has the vector that it would have in a batch of its own. Pooling,
losses, trainer and ``encode`` see the padded shape they expect.

Not every architecture accepts such masks and positions; :func:`stm_agent.backbone.checks.check_packing` checks that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ROWS = (64, 96, 128, 192)
"""Row lengths to choose from, in tokens."""
FREE_WIDTH = 600
"""Row length at which attention costs as much as the rest of a small decoder's layer, in tokens."""


@dataclass(frozen=True)
class Packing:
    """The target cell of each valid token of a padded batch.

    Attributes:
        row: Row of each token, ``[tokens]``.
        column: Column of each token, ``[tokens]``.
        position: Position of each token in its own text, ``[tokens]``.
        segment: Text of each packed cell, -1 where empty, ``[rows, width]``.
    """

    row: Tensor
    column: Tensor
    position: Tensor
    segment: Tensor


def pack(lengths: list[int], rows: tuple[int, ...] = ROWS) -> Packing:
    """Assign texts of the given token counts to rows of the cheapest length.

    Short rows waste less attention on other texts; long rows leave fewer empty cells. No row is shorter than the
    longest text.
    """
    longest = max(lengths)
    widths = dict.fromkeys(max(row, longest) for row in rows)
    fill, cells = min((_assign(lengths, width) for width in widths), key=_cost)
    counts = torch.tensor(lengths)
    starts = torch.tensor(cells).repeat_interleave(counts, dim=0)
    position = torch.cat([torch.arange(length) for length in lengths])
    column = starts[:, 1] + position
    segment = torch.full((len(fill), max(fill)), -1)
    segment[starts[:, 0], column] = torch.arange(len(lengths)).repeat_interleave(counts)
    return Packing(starts[:, 0], column, position, segment)


def _assign(lengths: list[int], row: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the tokens in each row and, for each text, its (row, first column); first-fit decreasing."""
    fill: list[int] = []
    cells: list[tuple[int, int]] = [(0, 0)] * len(lengths)
    for text in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[text]
        target = next((index for index, used in enumerate(fill) if used + length <= row), len(fill))
        if target == len(fill):
            fill.append(0)
        cells[text] = (target, fill[target])
        fill[target] += length
    return fill, cells


def _cost(packed: tuple[list[int], object]) -> float:
    fill = packed[0]
    return len(fill) * max(fill) * (1 + max(fill) / FREE_WIDTH)


def masks(packing: Packing, config: PreTrainedConfig, causal: bool, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """Return the additive mask ``[rows, 1, width, width]`` that a model with this config expects.

    If only some layers have a sliding window, transformers takes one mask for each kind of layer.
    """
    full = _mask(packing, causal, None, dtype)
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    # Rows that fit into the window need no second mask, and one tensor serves all kinds of layers.
    if not window or window >= packing.segment.shape[1] or kinds == {"full_attention"}:
        return full
    # transformers includes the far end of a window if `is_causal` is off, and excludes it if the model has a switch.
    own_switch = getattr(config, "use_bidirectional_attention", None) and getattr(config, "is_causal", True)
    sliding = _mask(packing, causal, window - 1 if causal or own_switch else window, dtype)
    return {"full_attention": full, "sliding_attention": sliding} if kinds else sliding


def _mask(packing: Packing, causal: bool, reach: int | None, dtype: torch.dtype) -> Tensor:
    segment = packing.segment
    allowed = segment[:, :, None] == segment[:, None, :]
    if causal or reach is not None:
        columns = torch.arange(segment.shape[1])
        back = columns[:, None] - columns[None, :]
        if causal:
            allowed = allowed & (back >= 0)
        if reach is not None:
            allowed = allowed & (back.abs() <= reach)
    mask = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)
    return mask[:, None]


Hidden = Callable[[Tensor, Tensor, Tensor | dict[str, Tensor]], Tensor]
"""Runs a network on packed rows: ids and positions ``[rows, width]``, mask -> ``[rows, width, hidden]``."""


def packed_hidden(
    network: nn.Module,
    ids: Tensor,
    positions: Tensor,
    mask: Tensor | dict[str, Tensor],
) -> Tensor:
    """Run a transformers network on packed rows; a :data:`Hidden` once the network is bound."""
    hidden: Tensor = network(
        input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
    ).last_hidden_state
    return hidden


def packed_tokens(
    network: Any,  # noqa: ANN401 - a transformers model
    features: Mapping[str, Tensor],
    hidden: Hidden,
    *,
    causal: bool,
) -> tuple[Tensor, int]:
    """Compute the vectors of a padded batch's tokens in packed rows.

    Args:
        network: The network, whose config and number format are read.
        features: ``input_ids`` and ``attention_mask``, ``[texts, longest]``.
        hidden: Runs the network.
        causal: Whether a token sees only what stands before it.

    Returns:
        ``[texts, longest, hidden]``, zeros where a text is padded, and the cells of the packed rows with empty ones.
    """
    ids, valid = features["input_ids"], features["attention_mask"].bool()
    config = network.config.get_text_config()
    if not valid.any():
        return torch.zeros((*ids.shape, config.hidden_size), dtype=network.dtype, device=ids.device), 0
    packing = pack(valid.sum(dim=1).tolist())
    shape = packing.segment.shape
    packed = torch.zeros(shape, dtype=ids.dtype)
    positions = torch.zeros(shape, dtype=torch.long)
    packed[packing.row, packing.column] = ids[valid].cpu()
    positions[packing.row, packing.column] = packing.position
    mask = masks(packing, config, causal, network.dtype)
    output = hidden(packed.to(ids.device), positions.to(ids.device), _to(mask, ids.device))
    spread = output.new_zeros((*ids.shape, output.shape[-1]))
    spread[valid] = output[packing.row.to(ids.device), packing.column.to(ids.device)]
    return spread, shape.numel()


def _to(mask: Tensor | dict[str, Tensor], device: torch.device) -> Tensor | dict[str, Tensor]:
    if isinstance(mask, dict):
        return {kind: part.to(device) for kind, part in mask.items()}
    return mask.to(device)
