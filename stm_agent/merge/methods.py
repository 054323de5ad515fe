"""Merge methods as pure functions on one matrix's deltas, after their papers.

A delta is what an expert adds to the base's weight. Every function takes deltas ``[experts, *shape]``
float32, weights ``[experts]`` float32 and a :class:`Knobs`, and returns the merged delta ``[*shape]``; the
base is the expert whose delta is 0. None of them looks at another matrix, so a merge needs the
memory of one matrix from each expert, and of the merged one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stm_agent.domain.merge_spec import MethodName

if TYPE_CHECKING:
    from torch import Generator, Tensor

TINY = 1e-8
"""Length or sum below which a value counts as 0 and is not divided by."""
PART = 1 << 20
"""Number of entries of a matrix that are merged at once."""
ROUNDS = 50
"""Largest number of steps to the spherical mean; nearly every one halves the distance."""


@dataclass(frozen=True)
class Knobs:
    """Options of a method in addition to the weights.

    Attributes:
        density: Share of a delta's entries that stay, in ties, dare and breadcrumbs; one for all experts, or one
            for each.
        outliers: Share of the largest entries that breadcrumbs drops (beta of the paper).
        scale: Factor on the merged delta (lambda of task arithmetic and ties).
        seed: Seed of what dare drops.
    """

    density: float | tuple[float, ...] = 0.5
    outliers: float = 0.01
    scale: float = 1.0
    seed: int = 0


def merge_matrix(method: MethodName, deltas: Tensor, weights: Tensor, knobs: Knobs, name: str = "") -> Tensor:
    """Merge one matrix's deltas.

    Args:
        method: Which of :data:`~stm_agent.domain.merge_spec.METHODS`.
        deltas: ``[experts, *shape]`` float32.
        weights: ``[experts]`` float32; for slerp shares of 1, of which the base has the rest.
        knobs: The method's options.
        name: Name of the matrix; with the seed it decides what dare drops, whatever the order of the matrices.

    Returns:
        ``[*shape]`` float32.
    """
    # A single number is a vector of one.
    flat = deltas.reshape(len(deltas), -1)
    if method == "slerp":
        merged = spherical(flat, weights)
    else:
        thin = _thinning(method, flat, knobs, name)
        join = elect if method.endswith("ties") else _weighted
        merged = _by_parts(flat, lambda part: join(thin(part), weights))
    return merged.view(deltas.shape[1:]).mul_(knobs.scale)


def _thinning(method: MethodName, deltas: Tensor, knobs: Knobs, name: str) -> Callable[[Tensor], Tensor]:
    """Return the function that leaves some entries out, as the method does."""
    if method in ("linear", "task-arithmetic"):
        return lambda part: part
    if method.startswith("dare"):
        draws = _draws(knobs.seed, name)
        return lambda part: drop(part, knobs.density, draws)
    low, high = bounds(deltas, knobs.density, knobs.outliers if method.startswith("breadcrumbs") else 0.0)
    return lambda part: trim(part, low, high)


def _by_parts(deltas: Tensor, merged: Callable[[Tensor], Tensor]) -> Tensor:
    """Merge ``[experts, entries]`` part by part, so that a method's temporary memory is that of one part."""
    import torch

    made = torch.empty_like(deltas[0])
    for begin in range(0, deltas.shape[1], PART):
        made[begin : begin + PART] = merged(deltas[:, begin : begin + PART])
    return made


def _weighted(deltas: Tensor, weights: Tensor) -> Tensor:
    import torch

    return torch.einsum("k,k...->...", weights, deltas)


def bounds(deltas: Tensor, density: float | Sequence[float], outliers: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest size of the entries that stay, ``[experts, 1]`` each.

    The largest entries stay, except for the ``outliers`` share at the top: with none this is TIES (Yadav et al. 2023,
    arXiv 2306.01708, section 3), with some Model Breadcrumbs (Davari and Belilovsky 2023, arXiv 2312.06795). At least
    one entry stays; if both shares do not fit, fewer outliers are dropped.

    Args:
        deltas: ``[experts, entries]``.
        density: Share of entries that stay, of all experts or of each.
        outliers: Share of entries above them.
    """
    import torch

    size = deltas.shape[1]
    low, high = deltas.new_zeros(len(deltas), 1), deltas.new_full((len(deltas), 1), torch.inf)
    for number, (delta, share) in enumerate(zip(deltas, _for_each(density, len(deltas)), strict=True)):
        staying = max(int(share * size), 1)
        top = min(int(outliers * size), size - staying)
        if staying >= size:
            continue
        # One expert at a time, and a partial sort only.
        limits = _at_ranks(delta.abs(), [size - top - staying, size - top] if top else [size - staying])
        low[number] = limits[0]
        if top:
            high[number] = limits[1]
    return low, high


def _for_each(density: float | Sequence[float], experts: int) -> Sequence[float]:
    return density if isinstance(density, Sequence) else [density] * experts


def _at_ranks(sizes: Tensor, ranks: list[int]) -> list[float]:
    """Return the entries of these ranks (0: the smallest); on a CPU this reorders ``sizes``."""
    # On a CPU, numpy's selection is several times faster than torch's, which sorts.
    if sizes.device.type == "cpu":
        values = sizes.numpy()
        values.partition(ranks)
        return [float(values[rank]) for rank in ranks]
    return [float(sizes.kthvalue(rank + 1).values) for rank in ranks]


def trim(deltas: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Keep the entries whose size is at least ``low`` and below ``high``."""
    sizes = deltas.abs()
    return deltas * ((sizes >= low) & (sizes < high))


def drop(deltas: Tensor, density: float | Sequence[float], draws: Generator) -> Tensor:
    """Keep each entry with probability ``density`` and divide it by that, so that the mean does not change.

    DARE (Yu et al. 2023, arXiv 2311.03099, equation 3).
    """
    import torch

    shares = torch.tensor(_for_each(density, len(deltas))).view(-1, *[1] * (deltas.dim() - 1))
    if bool((shares >= 1).all()):
        return deltas
    # Drawn on the CPU, so that every device drops the same entries.
    stays = torch.rand(deltas.shape, generator=draws) < shares
    return deltas * stays.to(deltas.device) / shares.to(deltas.device)


def _draws(seed: int, name: str) -> Generator:
    import torch

    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def elect(deltas: Tensor, weights: Tensor) -> Tensor:
    """Elect each entry's sign by the weighted sum and average the deltas that agree with it.

    TIES (arXiv 2306.01708, section 3). Zeros do not vote, so an entry of one expert alone is not made smaller.
    """
    weighted = deltas * weights.view(-1, *[1] * (deltas.dim() - 1))
    positive = weighted.sum(dim=0) >= 0
    agrees = (weighted != 0) & ((weighted > 0) == positive)
    total = (weighted * agrees).sum(dim=0)
    voters = (agrees * weights.abs().view(-1, *[1] * (deltas.dim() - 1))).sum(dim=0)
    return total / voters.clamp_min(TINY) if bool((weights != 0).any()) else total


def spherical(deltas: Tensor, weights: Tensor) -> Tensor:
    """Return the mean direction on the sphere, as long as the weighted sum of the deltas' lengths.

    For two experts this is SLERP (Shoemake 1985): the direction turns from one to the other at a constant rate. For
    more it is the Karcher mean, the point whose tangent vectors to all of them sum to 0. The direction depends on the
    weights relative to their sum. The base has the rest of 1, which makes the mean shorter. A delta of length 0 does
    not count.

    The mean is a weighted sum of the deltas, so its factors are computed from the deltas' dot products alone.
    """
    import torch

    products = _products(deltas)
    lengths = products.diagonal().sqrt()
    length = (weights.double() * lengths).sum()
    counts = (lengths > TINY) & (weights != 0)
    if not bool(counts.any()):
        return torch.zeros_like(deltas[0])
    cosines = products[counts][:, counts] / torch.outer(lengths[counts], lengths[counts])
    pull = weights[counts].double() / weights[counts].double().sum()
    factors = torch.zeros_like(lengths)
    factors[counts] = _karcher(cosines, pull) * length / lengths[counts]
    return _by_parts(deltas, lambda part: _weighted(part, factors.to(part.dtype)))


def _products(deltas: Tensor) -> Tensor:
    """Return the dot products of all deltas, float64 ``[experts, experts]``."""
    products = deltas.new_zeros(len(deltas), len(deltas)).double()
    for begin in range(0, deltas.shape[1], PART):
        part = deltas[:, begin : begin + PART].double()
        products += part @ part.T
    return products


def _karcher(cosines: Tensor, pull: Tensor) -> Tensor:
    """Return the factors with which unit vectors sum to their Karcher mean; ``cosines`` are their dot products."""
    first = pull.new_zeros(len(pull))
    first[0] = 1.0
    mean = _unit(pull, cosines, first)
    for _ in range(ROUNDS):
        across = (cosines @ mean).clamp(-1, 1)
        sines = (1 - across**2).sqrt()
        # The sphere's logarithm: tangents at the mean that point to the vectors.
        reach = pull * (sines.atan2(across) / sines).where(sines > TINY, sines.new_ones(()))
        step = reach - (reach * across).sum() * mean
        turn = (step @ cosines @ step).clamp_min(0).sqrt()
        if turn < 1e-12:
            break
        mean = _unit(mean * turn.cos() + step / turn * turn.sin(), cosines, first)
    return mean


def _unit(vector: Tensor, cosines: Tensor, otherwise: Tensor) -> Tensor:
    norm = (vector @ cosines @ vector).clamp_min(0).sqrt()
    unit: Tensor = vector / norm if norm > TINY else otherwise
    return unit
