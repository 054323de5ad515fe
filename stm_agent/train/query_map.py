"""Train a linear map on query vectors: no network is trained, and no text is encoded in a step.

The map is the identity plus a product of two thin matrices (as LoRA, Hu et al. 2021, arXiv 2106.09685, on vectors
instead of weights). It is trained by the softmax over all passages of a pool, as :mod:`stm_agent.train.query_side`
trains a network: hard negatives of a query are among them, and its other relevant passages count as found. A map can
learn a collection by heart within seconds, so it is kept only if it serves held-out queries clearly better.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.query_map import save_map
from stm_agent.domain.collection import Split
from stm_agent.domain.data import Pair
from stm_agent.domain.groups import query_groups
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.evaluate.metrics import CUT, score
from stm_agent.files import content_hash, write_json
from stm_agent.job import Job
from stm_agent.progress import report, safe_point
from stm_agent.train.early_stopping import CHECKS, CLEARLY, is_clear, standard_error
from stm_agent.train.job import pairs_hash
from stm_agent.train.query_rows import QueryRow, pool_losses, query_rows

if TYPE_CHECKING:
    from torch import Tensor

RANK, BATCH, LEARNING_RATE = 16, 64, 5e-4
"""Rank of the map, queries a step, and AdamW's learning rate."""
STEPS, SCALE = 160, 20.0
"""Optimiser steps, and the factor on cosines in the loss. With a factor of 50 the few queries whose passage is far away
decide the loss: on a map of all-MiniLM-L6-v2 held-out loss fell by a fifth, and nDCG@10 with it."""
FOLDS, FEWEST = 4, 50
"""Parts of the queries, each held out once, and the number of queries below which their gains say nothing."""
SECONDS = 0.02 * (FOLDS + 1) * STEPS
"""What the trainings of a map take on one core, beside encoding: each step multiplies with a few thousand passages."""
RESULT = "query_map.json"
"""File that says how a map was trained."""


@dataclass(frozen=True, kw_only=True)
class QueryMapJob(Job):
    """Trains a map on query vectors.

    Attributes:
        model: The encoder, which stays as it is.
        pairs: Training pairs; the pairs of one query are one row with several positives.
        pool: Passage id -> text: all passages that compete in training.
        groups: Group -> passages that are relevant to it or too near to be a negative.
        instruction: What stands in front of queries and passages.
        scale: Factor on cosine similarity in the loss (1 / temperature).
        steps: Optimiser steps, at most.
        folds: Parts of the queries that share no passage. Each is held out once; a map of all queries is trained for
            as many steps as gain most on held-out ones, and is the identity if that gain is not clear. 0: all steps.
        seed: Seed of the map, of the order, and of what is held out.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "query-map"
    model: EncoderSource
    pairs: tuple[Pair, ...]
    pool: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]
    instruction: Instruction
    scale: float = SCALE
    steps: int = STEPS
    folds: int = FOLDS
    seed: int = 0
    cache: Path

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the map."""
        groups = {pair.group: sorted(self.groups.get(pair.group, ())) for pair in self.pairs}
        return {
            "model": self.model.source_key(),
            "pairs": pairs_hash(self.pairs),
            "pool": content_hash(dict(self.pool)),
            "groups": content_hash(groups),
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
            "options": [RANK, BATCH, LEARNING_RATE, self.scale, self.steps, self.seed],
            **({"early stopping": [self.folds, FEWEST, CHECKS, CLEARLY]} if self.folds else {}),
        }

    def build(self, folder: Path) -> None:
        """Write ``map/`` and ``query_map.json``.

        Raises:
            DataError: No query has a positive in the pool.
            BackboneError: The model cannot be loaded.
        """
        import torch

        rows = query_rows(self.pairs, self.pool, self.groups)
        encoder, cache = self.model.open(), EmbeddingCache(self.cache)
        texts, before = [row.text for row in rows], self.instruction.query_prefix
        queries = torch.from_numpy(encode_queries(cache, encoder, texts, prefix=before))
        pool = cache.encode(encoder, list(self.pool.values()), prefix=self.instruction.passage_prefix)
        began = time.monotonic()
        data = _Data(queries, torch.from_numpy(pool), rows)
        step, gain = _steps(self, data) if self.folds else (self.steps, {})
        save_map(*_train(self, data, list(range(len(rows))), [step])[step], folder / "map")
        seconds = round(time.monotonic() - began, 3)
        write_json(
            folder / RESULT, {"rows": len(rows), "steps": self.steps, "kept_step": step, **gain, "seconds": seconds}
        )


class _Data(NamedTuple):
    """Vectors of queries, ``[rows, dimension]``, and pool, ``[passages, dimension]``, both float32, and the rows."""

    queries: Tensor
    pool: Tensor
    rows: list[QueryRow]


def folds_of(rows: list[QueryRow], count: int, seed: int) -> list[list[int]]:
    """Return the numbers of the rows in parts of about the same size; no two parts share a relevant passage or a text.

    Args:
        rows: The distinct queries.
        count: Parts.
        seed: Seed of the order in which groups of rows are dealt out, each to the smallest part.

    Returns:
        No part if there are fewer than :data:`FEWEST` rows, or if one of the parts would be smaller than half of the
        others' mean, since nearly all rows are one group.
    """
    import numpy as np

    # Groups come in the order of their first names: padded, that of the rows.
    named = {f"{number:09}": row for number, row in enumerate(rows)}
    queries = {name: row.text for name, row in named.items()}
    qrels = {name: dict.fromkeys(map(str, row.positives), 1) for name, row in named.items()}
    groups = [[int(name) for name in group] for group in query_groups(Split("train", queries, qrels))]
    parts = [list[int]() for _ in range(count)]
    for number in np.random.default_rng(seed).permutation(len(groups)):
        min(parts, key=len).extend(groups[number])
    usable = len(rows) >= FEWEST and 2 * count * min(map(len, parts)) >= len(rows)
    return [sorted(part) for part in parts] if usable else []


def _steps(job: QueryMapJob, data: _Data) -> tuple[int, dict[str, object]]:
    """Return the steps after which held-out queries gain most, and what they gain; 0 steps if that is not clear."""
    import numpy as np

    parts = folds_of(data.rows, job.folds, job.seed)
    checked = sorted({max(1, round(job.steps * number / CHECKS)) for number in range(1, CHECKS + 1)})
    gains: dict[int, list[float]] = {step: [] for step in checked}
    for number, part in enumerate(parts, 1):
        report("query map", f"part {number} of {len(parts)} is held out", number, len(parts))
        before = _ndcg(data, part, None)
        for step, (down, up) in _train(job, data, sorted(set(range(len(data.rows))) - set(part)), checked).items():
            after = _ndcg(data, part, down @ up)
            gains[step] += [new - old for new, old in zip(after, before, strict=True)]
    if not parts:
        return 0, {"held": 0}
    best = max(checked, key=lambda step: sum(gains[step]))
    values = np.asarray(gains[best])
    held_out_gain = {
        "held": len(values),
        "gains": {step: round(float(np.mean(row)), 4) for step, row in gains.items()},
        "gain": float(values.mean()),
        "standard_error": standard_error(values),
    }
    return best if is_clear(values) else 0, held_out_gain


def _train(
    job: QueryMapJob, data: _Data, chosen: list[int], wanted: Collection[int]
) -> dict[int, tuple[Tensor, Tensor]]:
    """Return the two matrices of a map after each number of steps that is wanted; 0: the identity.

    Args:
        job: Its options.
        data: What it learns from.
        chosen: Numbers of the rows that are trained on.
        wanted: Numbers of steps.
    """
    import torch

    generator = torch.Generator().manual_seed(job.seed)
    size, numbers = data.queries.shape[1], torch.tensor(chosen)
    down = (torch.randn(size, RANK, generator=generator) / size**0.5).requires_grad_()
    up = torch.zeros(RANK, size, requires_grad=True)
    optimizer = torch.optim.AdamW([down, up], lr=LEARNING_RATE)
    reached = {0: (down.detach().clone(), up.detach().clone())}
    for step in range(1, max(wanted) + 1):
        safe_point()
        batch = numbers[torch.randperm(len(numbers), generator=generator)[:BATCH]]
        queries = data.queries[batch]
        mapped = torch.nn.functional.normalize(queries + queries @ down @ up, dim=1)
        rows = [data.rows[number] for number in batch.tolist()]
        loss = pool_losses(job.scale * mapped @ data.pool.T, rows).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in wanted:
            reached[step] = down.detach().clone(), up.detach().clone()
    return {step: reached[step] for step in wanted}


def _ndcg(data: _Data, numbers: list[int], change: Tensor | None) -> list[float]:
    """Return nDCG@10 over the pool of some rows, whose vectors are mapped; None: as they are."""
    import torch

    queries = data.queries[numbers]
    mapped = queries if change is None else torch.nn.functional.normalize(queries + queries @ change, dim=1)
    run, relevant = {}, {}
    for number, values in zip(numbers, mapped @ data.pool.T, strict=True):
        row = data.rows[number]
        values[list(row.left_out)] = -torch.inf
        best = values.topk(min(CUT, len(values)))
        run[str(number)] = dict(zip(map(str, best.indices.tolist()), best.values.tolist(), strict=True))
        relevant[str(number)] = {str(passage): 1 for passage in row.positives}
    scores = score(run, relevant).per_query
    return [scores[str(number)] for number in numbers]
