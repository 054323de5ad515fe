"""Merge methods as pure functions on one matrix's deltas, after their papers.

A delta is what an expert adds to the base's weight. Every function takes deltas ``[experts, *shape]``
float32, weights ``[experts]`` float32 and a :class:`Knobs`, and returns the merged delta ``[*shape]``; the
base is the expert whose delta is 0. None of them looks at another matrix, so a merge needs the
memory of one matrix from each expert, and of the merged one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Generator, Tensor

MethodName = Literal[
    "linear", "task-arithmetic", "slerp", "ties", "dare-linear", "dare-ties", "breadcrumbs", "breadcrumbs-ties"
]
METHODS: tuple[MethodName, ...] = get_args(MethodName)
TINY = 1e-8
PART = 1 << 20
"""Entries of a matrix that are merged at once."""
ROUNDS = 50
"""Steps of the spherical mean, at most; it halves its distance in nearly every one."""


@dataclass(frozen=True)
class Knobs:
    """What a method may be told beside the weights.

    Attributes:
        density: Share of a delta's entries that stay, in ties, dare and breadcrumbs.
        outliers: Share of the largest entries that breadcrumbs drops (beta of the paper).
        scale: Factor on the merged delta (lambda of task arithmetic and ties).
        seed: Seed of what dare drops.
    """

    density: float = 0.5
    outliers: float = 0.01
    scale: float = 1.0
    seed: int = 0


def merge_matrix(method: MethodName, deltas: Tensor, weights: Tensor, knobs: Knobs, name: str = "") -> Tensor:
    """Merge one matrix's deltas.

    Args:
        method: Which of :data:`METHODS`.
        deltas: ``[experts, *shape]`` float32.
        weights: ``[experts]`` float32; for slerp shares of 1, what they lack being the base's.
        knobs: What the method may be told.
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
    """Return what leaves some entries of a part out, as the method has it."""
    if method in ("linear", "task-arithmetic"):
        return lambda part: part
    if method.startswith("dare"):
        draws = _draws(knobs.seed, name)
        return lambda part: drop(part, knobs.density, draws)
    low, high = bounds(deltas, knobs.density, knobs.outliers if method.startswith("breadcrumbs") else 0.0)
    return lambda part: trim(part, low, high)


def _by_parts(deltas: Tensor, merged: Callable[[Tensor], Tensor]) -> Tensor:
    """Merge ``[experts, entries]`` a part at a time: what a method holds beside its deltas is that of a part."""
    import torch

    made = torch.empty_like(deltas[0])
    for begin in range(0, deltas.shape[1], PART):
        made[begin : begin + PART] = merged(deltas[:, begin : begin + PART])
    return made


def _weighted(deltas: Tensor, weights: Tensor) -> Tensor:
    import torch

    return torch.einsum("k,k...->...", weights, deltas)


def bounds(deltas: Tensor, density: float, outliers: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the sizes between which an entry is among the ``density`` share that stays, ``[experts, 1]`` each.

    These are the largest, but for the ``outliers`` share above them: TIES (Yadav et al. 2023, arXiv 2306.01708, section
    3) with none, Model Breadcrumbs (Davari and Belilovsky 2023, arXiv 2312.06795) with some. At least one entry stays;
    where both shares do not fit, fewer outliers are dropped.

    Args:
        deltas: ``[experts, entries]``.
        density: Share of entries that stay.
        outliers: Share of entries above them.
    """
    import torch

    size = deltas.shape[1]
    kept = max(int(density * size), 1)
    top = min(int(outliers * size), size - kept)
    low, high = deltas.new_zeros(len(deltas), 1), deltas.new_full((len(deltas), 1), torch.inf)
    if kept >= size:
        return low, high
    for number, delta in enumerate(deltas):
        # One expert's sizes at a time, and sorted only so far.
        at = _at_ranks(delta.abs(), [size - top - kept, size - top] if top else [size - kept])
        low[number] = at[0]
        if top:
            high[number] = at[1]
    return low, high


def _at_ranks(sizes: Tensor, ranks: list[int]) -> list[float]:
    """Return the entries of these ranks (0: the least); on a CPU ``sizes`` is put in another order."""
    # On a CPU numpy's selection is several times faster than torch's, which sorts.
    if sizes.device.type == "cpu":
        values = sizes.numpy()
        values.partition(ranks)
        return [float(values[rank]) for rank in ranks]
    return [float(sizes.kthvalue(rank + 1).values) for rank in ranks]


def trim(deltas: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Keep the entries whose size is at least ``low`` and below ``high``."""
    sizes = deltas.abs()
    return deltas * ((sizes >= low) & (sizes < high))


def drop(deltas: Tensor, density: float, draws: Generator) -> Tensor:
    """Keep each entry with probability ``density`` and divide by it, so that the mean stays.

    DARE (Yu et al. 2023, arXiv 2311.03099, equation 3).
    """
    import torch

    if density >= 1:
        return deltas
    # Drawn on the CPU: the same entries fall on every device.
    stays = torch.rand(deltas.shape, generator=draws) < density
    return deltas * stays.to(deltas.device) / density


def _draws(seed: int, name: str) -> Generator:
    import torch

    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def elect(deltas: Tensor, weights: Tensor) -> Tensor:
    """Elect each entry's sign by the weighted sum and average the deltas that agree with it.

    TIES (arXiv 2306.01708, section 3): zeros take no part, so an entry only one expert kept stays whole.
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
    more it is the Karcher mean, the point whose tangent vectors to all of them sum to 0. The direction takes the
    weights relative to their sum; what they lack of 1 is the base's and shortens the mean. A delta of length 0 has no
    direction.

    The mean is a sum of the deltas, so it is found by its factors, from the products of the deltas with each other.
    """
    import torch

    products = _products(deltas)
    lengths = products.diagonal().sqrt()
    length = (weights.double() * lengths).sum()
    there = (lengths > TINY) & (weights != 0)
    if not bool(there.any()):
        return torch.zeros_like(deltas[0])
    cosines = products[there][:, there] / torch.outer(lengths[there], lengths[there])
    pull = weights[there].double() / weights[there].double().sum()
    factors = torch.zeros_like(lengths)
    factors[there] = _karcher(cosines, pull) * length / lengths[there]
    return _by_parts(deltas, lambda part: _weighted(part, factors.to(part.dtype)))


def _products(deltas: Tensor) -> Tensor:
    """Return the products of all deltas with each other, float64 ``[experts, experts]``."""
    found = deltas.new_zeros(len(deltas), len(deltas)).double()
    for begin in range(0, deltas.shape[1], PART):
        part = deltas[:, begin : begin + PART].double()
        found += part @ part.T
    return found


def _karcher(cosines: Tensor, pull: Tensor) -> Tensor:
    """Return the factors of unit vectors whose sum is their Karcher mean; ``cosines`` are theirs with each other."""
    first = pull.new_zeros(len(pull))
    first[0] = 1.0
    mean = _unit(pull, cosines, first)
    for _ in range(ROUNDS):
        across = (cosines @ mean).clamp(-1, 1)
        sines = (1 - across**2).sqrt()
        # The sphere's logarithm: the tangents at the mean that lead to the points.
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
