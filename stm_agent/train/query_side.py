"""Train the side of queries alone: the passages keep their vectors, so every passage of the pool is a negative.

A query is a tenth as long as a passage, and no passage is encoded in a step, so a CPU makes hundreds of steps in the
time of a few dozen of both sides; and the index of a corpus stays valid. Query-side fine-tuning is that of DensePhrases
(Lee et al. 2021, arXiv 2012.12624); the softmax over all passages is possible since their vectors are fixed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.errors import CheckFailed
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.files import content_hash, write_json
from stm_agent.job import Job
from stm_agent.mine.lists import Lists, lists_content
from stm_agent.progress import report, safe_point
from stm_agent.train.early_stopping import CHECKS, CLEARLY, HELD_ROWS, BestWeights, held_out
from stm_agent.train.expert import MEMORY_FIX, TrainedExpert
from stm_agent.train.job import adapter_origin, pairs_hash
from stm_agent.train.query_rows import QueryRow, pool_losses, query_rows, taught_rows
from stm_agent.train.student import trained_backbone, training_device

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

NO_SCORES = "queries without teacher scores, left out"
"""Reason under which such queries are counted."""
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
        lists: A teacher's scores of the pairs, for loss ``distil``.
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
    lists: Lists = field(default_factory=dict)
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
            **self._teaching(),
            **({"early stopping": [CHECKS, HELD_ROWS, CLEARLY]} if self.expert.bag else {}),
        }

    def _teaching(self) -> dict[str, object]:
        if not self.lists:
            return {}
        options = [self.expert.gold, self.train.teacher_temperature, self.train.infonce_share]
        return {"lists": content_hash(lists_content(self.lists)), "teaching": options}

    def build(self, folder: Path) -> None:
        """Write ``adapter/`` and ``expert.json``.

        Raises:
            DataError: No query has a positive in the pool.
            CheckFailed: The loss is not finite, or the vectors are not what training must give.
            OutOfMemory: A batch does not fit the memory.
        """
        with memory_errors(f"training expert {self.expert.name}", fix=MEMORY_FIX):
            _train(self, folder)


def _train(job: QuerySideJob, folder: Path) -> None:
    import torch

    from stm_agent.backbone.checks import vectors
    from stm_agent.train.student import new_student, save_student, training_products

    every = query_rows(job.pairs, job.pool, job.groups, job.lists, job.expert.gold)
    rows = taught_rows(every) if job.lists else every
    passages = _passages(job)
    torch.manual_seed(job.seed)
    model = new_student(job.backbone, job.train, job.start)
    before = vectors(model)
    began = time.monotonic()
    with training_products(model, job.backbone):
        losses, best = _fit(job, model, rows, passages)
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
        skipped={NO_SCORES: len(every) - len(rows)} if len(rows) < len(every) else {},
    )
    write_json(
        folder / "expert.json",
        {
            **asdict(trained),
            "adapter": "adapter",
            "rows": len(rows),
            "held_out": best.losses,
            "kept_step": best.step,
        },
    )


def _passages(job: QuerySideJob) -> Tensor:
    """Return the vectors of the pool, ``[passages, dimension]`` float32."""
    import torch

    cache = EmbeddingCache(job.cache)
    encoder = job.documents.open()
    return torch.from_numpy(cache.encode(encoder, list(job.pool.values()), prefix=job.instruction.passage_prefix))


def _fit(
    job: QuerySideJob, model: SentenceTransformer, rows: list[QueryRow], passages: Tensor
) -> tuple[list[float], BestWeights]:
    """Train the adapter in place; return the loss of each step, and which step's weights were kept."""
    import math

    import numpy as np
    import torch

    expert, train = job.expert, job.train
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=expert.learning_rate or train.learning_rate)
    warmup = max(1, round(train.warmup * expert.steps) if train.warmup_steps is None else train.warmup_steps)

    def rate(step: int) -> float:
        falling = (expert.steps - step) / max(1, expert.steps - warmup)
        return min((step + 1) / warmup, expert.final_rate + (1 - expert.final_rate) * falling)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    passages, prefix = passages.to(model.device), job.instruction.query_prefix
    losses: list[float] = []
    random = np.random.default_rng(job.seed)
    # A bag is drawn with replacement, so that experts on different bags differ in what they learn by chance.
    bag = random.choice(len(rows), len(rows)) if expert.bag else np.arange(len(rows))
    held = [rows[number] for number in held_out([row.positives for row in rows], bag.tolist())]
    size = min(expert.batch_size or train.batch_size, len(rows))
    loss_of = partial(_held_loss, model, held, size, passages, prefix, train)
    best = BestWeights(weights, expert.steps, loss_of if held else None)
    for batch in _batches(rows, bag, size, expert.steps, random):
        safe_point()
        loss = _losses(model, batch, passages, prefix, train).mean()
        if not math.isfinite(loss.item()):
            raise CheckFailed("finite-loss", loss.item(), f"expert {expert.name}: lower learning_rate")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        best.after(len(losses))
        report("train", f"loss {loss.item():.3f}", len(losses), expert.steps)
    best.restore()
    return losses, best


def _held_loss(
    model: SentenceTransformer, held: list[QueryRow], size: int, passages: Tensor, prefix: str, train: TrainSpec
) -> list[float]:
    """Return the loss of each query that is not trained on, without dropout, ``size`` at a time."""
    import torch

    model.eval()
    losses: list[float] = []
    with torch.no_grad():
        for first in range(0, len(held), size):
            losses += _losses(model, held[first : first + size], passages, prefix, train).tolist()
    model.train()
    return losses


def _losses(
    model: SentenceTransformer, batch: list[QueryRow], passages: Tensor, prefix: str, train: TrainSpec
) -> Tensor:
    """Return, ``[batch]``, the negative log-likelihood that a query's softmax over all passages gives to positives.

    With a teacher's scores it is a share of the loss: the Kullback-Leibler distance from the teacher's softmax over the
    list to that of the query is the rest.
    """
    import torch

    features = model.preprocess([prefix + row.text for row in batch])
    features = {name: value.to(model.device) if hasattr(value, "to") else value for name, value in features.items()}
    queries = torch.nn.functional.normalize(model(features)["sentence_embedding"], dim=1)
    scores = train.scale * queries @ passages.T
    losses = pool_losses(scores, batch)
    # Either all rows have a teacher's scores, or none has.
    if not batch[0].scores:
        return losses
    distances = torch.stack([_distance(row, values, train) for row, values in zip(batch, scores, strict=True)])
    return distances + train.infonce_share * losses


def _distance(row: QueryRow, values: Tensor, train: TrainSpec) -> Tensor:
    """Return the Kullback-Leibler distance, a scalar, from a teacher's softmax over a list to that of ``values``."""
    import torch

    targets = torch.tensor([*row.scores.values()], device=values.device) / train.teacher_temperature
    student = torch.log_softmax(values[[*row.scores]], dim=0)
    return torch.nn.functional.kl_div(student, torch.log_softmax(targets, dim=0), reduction="sum", log_target=True)


def _batches(
    rows: list[QueryRow], bag: NDArray[np.intp], size: int, steps: int, random: np.random.Generator
) -> Iterator[list[QueryRow]]:
    """Yield one batch a step: passes over a shuffled bag of the rows, the last batch of a pass filled from the next."""
    order: list[int] = []
    for _ in range(steps):
        while len(order) < size:
            order += random.permutation(bag).tolist()
        yield [rows[number] for number in order[:size]]
        order = order[size:]
