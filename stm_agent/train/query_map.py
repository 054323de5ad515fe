"""Rate training pairs by a linear map on query vectors: no network is trained, and no text is encoded twice.

The map is the identity plus a product of two thin matrices and is trained by the softmax over all passages of a pool,
as :mod:`stm_agent.train.query_side` trains a network. It is too weak to be a retriever of its own, but it shows in
seconds in which direction pairs push queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.evaluate.metrics import score
from stm_agent.evaluate.ranking import rank
from stm_agent.evaluate.scoring import DEPTH, SCORES, ScoredTask, scores_to_json
from stm_agent.files import content_hash, write_json
from stm_agent.job import Job
from stm_agent.progress import safe_point
from stm_agent.train.job import pairs_hash
from stm_agent.train.query_side import QueryRow, query_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

RANK, BATCH, LEARNING_RATE = 16, 64, 5e-4
"""Rank of the map, queries a step, and AdamW's learning rate."""


@dataclass(frozen=True, kw_only=True)
class QueryMapJob(Job):
    """Trains a map on query vectors and scores it.

    Attributes:
        model: The encoder, which stays as it is.
        pairs: Training pairs; the pairs of one query are one row with several positives.
        pool: Passage id -> text: all passages that compete in training.
        groups: Group -> passages that are relevant to it or too near to be a negative.
        task: What the map is scored on.
        instruction: What stands in front of queries and passages.
        scale: Factor on cosine similarity in the loss (1 / temperature).
        steps: Optimiser steps.
        seed: Seed of the map and of the order.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "query-map"
    model: EncoderSource
    pairs: tuple[Pair, ...]
    pool: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]
    task: ScoredTask
    instruction: Instruction
    scale: float
    steps: int
    seed: int = 0
    cache: Path

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the scores."""
        groups = {pair.group: sorted(self.groups.get(pair.group, ())) for pair in self.pairs}
        return {
            "model": self.model.source_key(),
            "pairs": pairs_hash(self.pairs),
            "pool": content_hash(dict(self.pool)),
            "groups": content_hash(groups),
            "task": self.task.content_hash,
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
            "options": [RANK, BATCH, LEARNING_RATE, self.scale, self.steps, self.seed],
        }

    def build(self, folder: Path) -> None:
        """Write ``scores.json``, as a ``ScoringJob`` does.

        Raises:
            DataError: No query has a positive in the pool.
            BackboneError: The model cannot be loaded.
        """
        import numpy as np

        rows = query_rows(self.pairs, self.pool, self.groups)
        encoder, cache = self.model.open(), EmbeddingCache(self.cache)
        before, after = self.instruction.query_prefix, self.instruction.passage_prefix
        queries = encode_queries(cache, encoder, [row.text for row in rows], prefix=before)
        passages = cache.encode(encoder, list(self.pool.values()), prefix=after)
        learnt = _learn(queries, passages, rows, scale=self.scale, steps=self.steps, seed=self.seed)
        split = self.task.split
        asked = encode_queries(cache, encoder, list(split.queries.values()), prefix=before)
        mapped = asked + asked @ learnt
        mapped /= np.linalg.norm(mapped, axis=1, keepdims=True)
        documents = cache.encode(encoder, list(self.task.documents.values()), prefix=after)
        names = list(self.task.documents)
        run = rank(list(split.queries), mapped, names, documents, k=DEPTH, ignored_ids=split.ignored_ids)
        scores = score(run, split.qrels)
        speed = {"texts": cache.misses, "seconds": round(cache.seconds, 3)}
        write_json(folder / SCORES, {"scores": {self.task.name: scores_to_json(scores)}, **speed})


def _learn(
    queries: NDArray[np.float32],
    passages: NDArray[np.float32],
    rows: list[QueryRow],
    *,
    scale: float,
    steps: int,
    seed: int,
) -> NDArray[np.float32]:
    """Return ``[dimension, dimension]`` float32: what is added to the identity."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    vectors, pool = torch.from_numpy(queries), torch.from_numpy(passages)
    size = vectors.shape[1]
    down = (torch.randn(size, RANK, generator=generator) / size**0.5).requires_grad_()
    up = torch.zeros(RANK, size, requires_grad=True)
    optimizer = torch.optim.AdamW([down, up], lr=LEARNING_RATE)
    for _ in range(steps):
        safe_point()
        chosen = torch.randperm(len(rows), generator=generator)[:BATCH].tolist()
        batch = vectors[chosen]
        mapped = torch.nn.functional.normalize(batch + batch @ down @ up, dim=1)
        loss = _loss(scale * mapped @ pool.T, [rows[number] for number in chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    result: NDArray[np.float32] = (down @ up).detach().numpy()
    return result


def _loss(scores: Tensor, batch: list[QueryRow]) -> Tensor:
    """Return the mean negative log-likelihood that the softmax over all passages gives to the positives."""
    import torch

    terms = []
    for row, values in zip(batch, scores, strict=True):
        if row.left_out:
            values = values.index_fill(0, torch.tensor(row.left_out), -torch.inf)
        terms.append(torch.logsumexp(values, dim=0) - torch.logsumexp(values[list(row.positives)], dim=0))
    return torch.stack(terms).mean()
