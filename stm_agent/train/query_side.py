"""Train the side of queries alone: the passages keep their vectors, so every passage of the pool is a negative.

A query is a tenth as long as a passage, and no passage is encoded in a step, so a CPU makes hundreds of steps in the
time of a few dozen of both sides; and the index of a corpus stays valid. Query-side fine-tuning is that of DensePhrases
(Lee et al. 2021, arXiv 2012.12624); the softmax over all passages is possible since their vectors are fixed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.errors import CheckFailed, DataError
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.files import content_hash, write_json
from stm_agent.job import Job
from stm_agent.progress import report, safe_point
from stm_agent.train.expert import MEMORY_FIX, TrainedExpert
from stm_agent.train.job import adapter_origin, pairs_hash
from stm_agent.train.student import trained_backbone, training_device

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

CLIP = 1.0
"""Largest norm of a step's gradient."""


@dataclass(frozen=True, kw_only=True)
class QuerySideJob(Job):
    """Trains an adapter that only queries are encoded with.

    Attributes:
        expert: Steps, batch size and learning rate.
        train: Options that all experts share.
        backbone: The model before adaptation.
        documents: The model whose vectors the passages keep.
        start: Adapter that the side of queries starts from; None: the backbone.
        pairs: Training pairs; the pairs of one query are one row with several positives.
        pool: Passage id -> text: all passages that compete.
        groups: Group -> passages that are relevant to it or too near to be a negative.
        instruction: What stands in front of queries and passages.
        seed: Seed of the new weights and of the order.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "train-queries"
    expert: ExpertSpec
    train: TrainSpec
    backbone: BackboneSpec
    documents: EncoderSource
    start: Path | None = None
    pairs: tuple[Pair, ...]
    pool: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]
    instruction: Instruction
    seed: int = 0
    cache: Path

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the adapter."""
        groups = {pair.group: sorted(self.groups.get(pair.group, ())) for pair in self.pairs}
        options = {"steps", "batch_size", "learning_rate", "final_rate", "bag"}
        shared = {"batch_size", "learning_rate", "scale", "warmup", "lora_rank", "lora_alpha", "embeddings", "qlora"}
        return {
            "expert": self.expert.model_dump(mode="json", include=options),
            "train": self.train.model_dump(mode="json", include=shared),
            "backbone": trained_backbone(self.backbone),
            # Decides the dtype and the dropout.
            "device": training_device(),
            "documents": self.documents.source_key(),
            "start": adapter_origin(self.start),
            "pairs": pairs_hash(self.pairs),
            "pool": content_hash(dict(self.pool)),
            "groups": content_hash(groups),
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
            "seed": self.seed,
        }

    def build(self, folder: Path) -> None:
        """Write ``adapter/`` and ``expert.json``.

        Raises:
            DataError: No query has a positive in the pool.
            CheckFailed: The loss is not finite, or the vectors are not what training must give.
            OutOfMemory: A batch does not fit the memory.
        """
        with memory_errors(f"training expert {self.expert.name}", fix=MEMORY_FIX):
            _train(self, folder)


@dataclass(frozen=True)
class QueryRow:
    """One query with the rows of the pool that are relevant, and those that must not count as negatives."""

    text: str
    positives: tuple[int, ...]
    left_out: tuple[int, ...]


def query_rows(
    pairs: tuple[Pair, ...], pool: Mapping[str, str], groups: Mapping[str, frozenset[str]]
) -> list[QueryRow]:
    """Return a row for each distinct query.

    The passage of a pair is found by its text, else (a passage without its title, or without one of its sentences) by
    its group; pairs without any are left out.

    Raises:
        DataError: No pair has a passage in the pool.
    """
    number = {name: row for row, name in enumerate(pool)}
    by_text: dict[str, int] = {}
    for name, text in pool.items():
        by_text.setdefault(text, number[name])
    positives: dict[tuple[str, str], set[int]] = {}
    near = {pair.group: {number[name] for name in groups.get(pair.group, ()) if name in number} for pair in pairs}
    for pair in pairs:
        relevant = {by_text[pair.positive]} if pair.positive in by_text else near[pair.group]
        if relevant:
            positives.setdefault((pair.group, pair.query), set()).update(relevant)
    rows = [
        QueryRow(query, tuple(sorted(relevant)), tuple(sorted(near[group] - relevant)))
        for (group, query), relevant in positives.items()
    ]
    if not rows:
        raise DataError("no training pair's passage is in the corpus; a query-side expert needs pairs from it")
    return rows


def _train(job: QuerySideJob, folder: Path) -> None:
    import torch

    from stm_agent.backbone.checks import vectors
    from stm_agent.train.student import new_student, save_student, training_products

    rows = query_rows(job.pairs, job.pool, job.groups)
    passages = _passages(job)
    torch.manual_seed(job.seed)
    model = new_student(job.backbone, job.train, job.start)
    before = vectors(model)
    began = time.monotonic()
    with training_products(model, job.backbone):
        losses = _fit(job, model, rows, passages)
    seconds = time.monotonic() - began
    checks = save_student(model, before, folder, job.backbone, job.train)
    size = job.expert.batch_size or job.train.batch_size
    trained = TrainedExpert(
        name=job.expert.name,
        adapter=folder / "adapter",
        steps=len(losses),
        processes=1,
        seconds=seconds,
        texts_per_second=len(losses) * size / max(seconds, 1e-9),
        losses=losses,
        resumed_at=0,
        padded_share=0.0,
        best_dev=None,
        checks=checks,
        skipped={},
    )
    write_json(folder / "expert.json", {**asdict(trained), "adapter": "adapter", "rows": len(rows)})


def _passages(job: QuerySideJob) -> Tensor:
    """Return the vectors of the pool, ``[passages, dimension]`` float32."""
    import torch

    cache = EmbeddingCache(job.cache)
    encoder = job.documents.open()
    return torch.from_numpy(cache.encode(encoder, list(job.pool.values()), prefix=job.instruction.passage_prefix))


def _fit(job: QuerySideJob, model: SentenceTransformer, rows: list[QueryRow], passages: Tensor) -> list[float]:
    """Train the adapter in place; return the loss of each step."""
    import math

    import torch

    expert, train = job.expert, job.train
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=expert.learning_rate or train.learning_rate)
    warmup = max(1, round(train.warmup * expert.steps) if train.warmup_steps is None else train.warmup_steps)

    def rate(step: int) -> float:
        falling = (expert.steps - step) / max(1, expert.steps - warmup)
        return min((step + 1) / warmup, expert.final_rate + (1 - expert.final_rate) * falling)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    passages = passages.to(model.device)
    losses: list[float] = []
    for batch in _batches(rows, expert, train, job.seed):
        safe_point()
        loss = _loss(model, batch, passages, job.instruction.query_prefix, train.scale)
        if not math.isfinite(loss.item()):
            raise CheckFailed("finite-loss", loss.item(), f"expert {expert.name}: lower learning_rate")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        report("train", f"loss {loss.item():.3f}", len(losses), expert.steps)
    return losses


def _loss(model: SentenceTransformer, batch: list[QueryRow], passages: Tensor, prefix: str, scale: float) -> Tensor:
    """Return the mean negative log-likelihood that a query's softmax over all passages gives to its positives."""
    import torch

    features = model.preprocess([prefix + row.text for row in batch])
    features = {name: value.to(model.device) if hasattr(value, "to") else value for name, value in features.items()}
    queries = torch.nn.functional.normalize(model(features)["sentence_embedding"], dim=1)
    scores = scale * queries @ passages.T
    terms = []
    for row, values in zip(batch, scores, strict=True):
        if row.left_out:
            values = values.index_fill(0, torch.tensor(row.left_out, device=values.device), -torch.inf)
        likelihood = torch.logsumexp(values[list(row.positives)], dim=0) - torch.logsumexp(values, dim=0)
        terms.append(-likelihood)
    return torch.stack(terms).mean()


def _batches(rows: list[QueryRow], expert: ExpertSpec, train: TrainSpec, seed: int) -> Iterator[list[QueryRow]]:
    """Yield one batch a step: passes over a shuffled bag of the rows, the last batch of a pass filled from the next."""
    import numpy as np

    random = np.random.default_rng(seed)
    size = min(expert.batch_size or train.batch_size, len(rows))
    # A bag is drawn with replacement, so that experts on different bags differ in what they learn by chance.
    bag = random.choice(len(rows), len(rows)) if expert.bag else np.arange(len(rows))
    order: list[int] = []
    for _ in range(expert.steps):
        while len(order) < size:
            order += random.permutation(bag).tolist()
        yield [rows[number] for number in order[:size]]
        order = order[size:]
