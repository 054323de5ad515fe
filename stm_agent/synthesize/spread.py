"""Which passages queries are written for: spread over clusters of the corpus, so that no topic is left out.

1,000 passages spread over clusters teach more than 5,000 drawn blindly (DUQGen, arXiv 2404.02489). Which passages are
judged for dev or test decides nothing here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.instruction import NO_INSTRUCTION, Instruction
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.files import sha256_text
from stm_agent.mine.prompted import PromptedEncoder

MOST_CLUSTERS = 1000
FITTED = 20_000
"""Passages that the clusters are fitted on, at most; all others join the nearest one."""
ITERATIONS = 10


@dataclass(frozen=True)
class Spread:
    """The encoder whose vectors are clustered, as a value.

    Attributes:
        encoder: The model.
        instruction: What its queries and passages have in front of them.
        cache: Folder of cached vectors; decides nothing.
    """

    encoder: EncoderSource
    instruction: Instruction = NO_INSTRUCTION
    cache: Path = Path()

    def key(self) -> object:
        """Return what decides the vectors, as JSON values."""
        return [self.encoder.source_key(), self.instruction.query_prefix, self.instruction.passage_prefix]

    def open(self) -> PromptedEncoder:
        """Load the model.

        Raises:
            BackboneError: It cannot be loaded.
        """
        prefixes = (self.instruction.query_prefix, self.instruction.passage_prefix)
        return PromptedEncoder(self.encoder.open(), *prefixes, EmbeddingCache(self.cache))


@dataclass(frozen=True)
class Chosen:
    """Passages to write for, and the number of clusters they were spread over; 0: drawn by a hash alone."""

    passages: tuple[str, ...]
    clusters: int = 0


def choose_passages(pool: Mapping[str, str], count: int, *, seed: int, encoder: PromptedEncoder | None) -> Chosen:
    """Return ``count`` passages, in an order that is spread over the clusters too.

    Every cluster gives one passage, and the larger ones give more in proportion to their sizes. Inside a cluster a
    seeded hash decides.

    Args:
        pool: Passage id -> text; passages without text are never chosen.
        count: Passages wanted.
        seed: Seed of the draw.
        encoder: Whose vectors are clustered; None: a draw by a seeded hash.
    """
    ordered = sorted((name for name in pool if pool[name].strip()), key=lambda name: sha256_text(f"{seed} {name}"))
    if encoder is None or count >= len(ordered) or count < 2:
        return Chosen(tuple(ordered[:count]))
    vectors = encoder.passages([pool[name] for name in ordered])
    labels = cluster(vectors, min(count, MOST_CLUSTERS))
    members: dict[int, list[str]] = {}
    for name, label in zip(ordered, labels.tolist(), strict=True):
        members.setdefault(label, []).append(name)
    groups = list(members.values())
    return Chosen(tuple(_spread(groups, count)), len(groups))


def cluster(vectors: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """Return the cluster of each vector, by k-means that begins at the first ``count`` of them.

    Args:
        vectors: ``[texts, dimension]``, L2-normalised, in a random order.
        count: Clusters, at most as many as vectors; some may stay empty.
    """
    from scipy.cluster.vq import kmeans2, vq

    fitted = vectors[:FITTED]
    with warnings.catch_warnings():
        # Of near-duplicates some clusters stay empty; they give no passage.
        warnings.simplefilter("ignore", UserWarning)
        centroids, _ = kmeans2(fitted, fitted[:count].copy(), iter=ITERATIONS, minit="matrix", missing="warn")
    labels: NDArray[np.int32] = vq(vectors, centroids.astype(vectors.dtype), check_finite=False)[0]
    return labels


def _spread(groups: Sequence[Sequence[str]], count: int) -> list[str]:
    """Return ``count`` members: one of each group, then by the groups' sizes (the highest averages of D'Hondt)."""
    taken = [0] * len(groups)
    chosen: list[str] = []
    for index in sorted(range(len(groups)), key=lambda index: -len(groups[index]))[:count]:
        chosen.append(groups[index][0])
        taken[index] = 1
    while len(chosen) < count:
        left = (index for index in range(len(groups)) if taken[index] < len(groups[index]))
        index = max(left, key=lambda index: len(groups[index]) / (taken[index] + 1))
        chosen.append(groups[index][taken[index]])
        taken[index] += 1
    return chosen
