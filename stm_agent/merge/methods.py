"""Merge methods as pure functions on one matrix's deltas, after their papers.

A delta is what an expert adds to the base's weight. Every function takes deltas ``[experts, *shape]``
float32, weights ``[experts]`` float32 and a :class:`Knobs`, and returns the merged delta ``[*shape]``; the
base is the expert whose delta is 0. None of them looks at another matrix, so a merge needs the
memory of one matrix from each expert.
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
        weights: ``[experts]`` float32.
        knobs: What the method may be told.
        name: Name of the matrix; with the seed it decides what dare drops, whatever the order of the matrices.

    Returns:
        ``[*shape]`` float32.
    """
    kernels: dict[str, Callable[[], Tensor]] = {
        "linear": lambda: _weighted(deltas, weights),
        "task-arithmetic": lambda: _weighted(deltas, weights),
        "slerp": lambda: spherical(deltas, weights),
        "ties": lambda: elect(trim(deltas, knobs.density), weights),
        "dare-linear": lambda: _weighted(drop(deltas, knobs.density, _draws(knobs.seed, name)), weights),
        "dare-ties": lambda: elect(drop(deltas, knobs.density, _draws(knobs.seed, name)), weights),
        "breadcrumbs": lambda: _weighted(trim(deltas, knobs.density, knobs.outliers), weights),
        "breadcrumbs-ties": lambda: elect(trim(deltas, knobs.density, knobs.outliers), weights),
    }
    return kernels[method]() * knobs.scale


def _weighted(deltas: Tensor, weights: Tensor) -> Tensor:
    import torch

    return torch.einsum("k,k...->...", weights, deltas)


def trim(deltas: Tensor, density: float, outliers: float = 0.0) -> Tensor:
    """Keep the ``density`` share of each delta's entries: the largest, but for the ``outliers`` share above them.

    TIES (Yadav et al. 2023, arXiv 2306.01708, section 3) with no outliers, Model Breadcrumbs (Davari and
    Belilovsky 2023, arXiv 2312.06795) with some. Where both shares do not fit, fewer outliers are dropped.
    """
    import torch

    size = deltas[0].numel()
    kept = int(density * size)
    top = min(int(outliers * size), size - kept)
    if kept >= size:
        return deltas
    sizes = deltas.abs().flatten(1)
    low = _at_rank(sizes, size - top - kept)
    high = _at_rank(sizes, size - top) if top else torch.full_like(low, torch.inf)
    stays = (sizes >= low) & (sizes < high)
    return deltas * stays.view_as(deltas)


def _at_rank(sizes: Tensor, rank: int) -> Tensor:
    """Return the entry of rank ``rank`` (0: the least) of each row, ``[experts, 1]``."""
    import numpy as np
    import torch

    # On a CPU numpy's selection is several times faster than torch's, which sorts.
    if sizes.device.type == "cpu":
        found = np.partition(sizes.numpy(), rank, axis=1)[:, rank : rank + 1]
        return torch.from_numpy(found.copy())
    return sizes.kthvalue(rank + 1, dim=1, keepdim=True).values


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
    """Return the mean direction on the sphere, as long as the weighted mean of the deltas' lengths.

    For two experts this is SLERP (Shoemake 1985): the direction turns from one to the other at a constant
    rate. For more it is the Karcher mean, the point whose tangent vectors to all of them sum to 0. Weights
    are taken relative to their sum. A delta of length 0 has no direction and only shortens the mean.
    """
    import torch

    flat = deltas.flatten(1).double()
    lengths = flat.norm(dim=1)
    shares = weights.double() / weights.double().sum()
    length = (shares * lengths).sum()
    there = (lengths > TINY) & (shares != 0)
    if not bool(there.any()):
        return torch.zeros_like(deltas[0])
    points = flat[there] / lengths[there, None]
    pull = shares[there] / shares[there].sum()
    mean = _unit((pull[:, None] * points).sum(dim=0), points[0])
    for _ in range(ROUNDS):
        step = (pull[:, None] * _tangents(mean, points)).sum(dim=0)
        turn = step.norm()
        if turn < 1e-12:
            break
        mean = _unit(mean * turn.cos() + step / turn * turn.sin(), points[0])
    merged: Tensor = (mean * length).view_as(deltas[0]).to(deltas.dtype)
    return merged


def _unit(vector: Tensor, otherwise: Tensor) -> Tensor:
    norm = vector.norm()
    unit: Tensor = vector / norm if norm > TINY else otherwise
    return unit


def _tangents(mean: Tensor, points: Tensor) -> Tensor:
    """Return the tangent vectors at ``mean`` that lead to the points (the sphere's logarithm)."""
    across = points - (points @ mean)[:, None] * mean
    sines = across.norm(dim=1)
    angles = sines.atan2(points @ mean)
    tangents: Tensor = across * (angles / sines.clamp_min(1e-300))[:, None]
    return tangents
