"""The training job: one adapter in a folder named by everything that decides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.memory_errors import release_memory
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.evaluate.scoring import ScoredTask, score_split
from stm_agent.files import content_hash, folder_hash, read_json
from stm_agent.job import Job, checkpoint_folder
from stm_agent.mine.lists import Lists, lists_content
from stm_agent.mine.negatives import Negative
from stm_agent.progress import show, without_stops
from stm_agent.train.aids import Helpers
from stm_agent.train.processes import processes
from stm_agent.train.student import trained_backbone, training_device

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

Negatives = Mapping[str, tuple[Negative, ...]]
"""Pair id -> hard negatives, hardest first."""

DECIDED_ELSEWHERE = {"name", "sources", "start", "instruction", "prompts"}
"""Options of an expert that do not decide its adapter, or that are in the key by what they lead to."""
NO_NEGATIVES: Negatives = {}


def pairs_hash(pairs: Sequence[Pair]) -> str:
    """Return the content hash of training pairs, in order."""
    return content_hash([pair.content() for pair in pairs])


def adapter_origin(start: Path | None) -> str:
    """Return what identifies the adapter that a training starts from, with the teacher's map beside it."""
    if start is None:
        return "base"
    stage = start.parent
    manifest = stage / "manifest.json"
    if manifest.is_file() and stage.name.endswith(str(read_json(manifest)["key"])[:16]):
        return stage.name
    return folder_hash(start)


@dataclass(frozen=True, kw_only=True)
class TrainingJob(Job):
    """Trains one LoRA adapter on a list of pairs.

    Attributes:
        expert: Steps, loss and overrides of this expert.
        train: Options that all experts share.
        backbone: The model before adaptation.
        pairs: Training pairs.
        negatives: Hard negatives of the pairs.
        lists: A teacher's scores of the pairs, for loss ``distil``.
        instruction: What stands in front of queries and passages.
        prompts: Prefixes of which each query gets one, in place of the instruction's; empty: off.
        start: Adapter folder that training starts from; None: the backbone.
        seed: Seed of new weights and of the batch order.
        dev: What a model in training is scored on; None: nothing asks for it.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "train"
    expert: ExpertSpec
    train: TrainSpec
    backbone: BackboneSpec
    pairs: tuple[Pair, ...]
    negatives: Negatives
    instruction: Instruction
    lists: Lists = field(default_factory=dict)
    prompts: tuple[str, ...] = ()
    start: Path | None = None
    seed: int = 0
    dev: ScoredTask | None = None
    cache: Path

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the adapter. A new name alone does not make a new one."""
        negatives = {key: [negative.text for negative in row] for key, row in self.negatives.items()}
        return {
            "expert": self.expert.model_dump(mode="json", exclude=DECIDED_ELSEWHERE),
            "train": self.train.model_dump(mode="json", exclude={"checkpoint_every", "processes"}),
            "backbone": trained_backbone(self.backbone),
            # Decides the dtype and the dropout.
            "device": training_device(),
            "processes": self._processes,
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
            "prompts": list(self.prompts),
            "seed": self.seed,
            "models": self._models(),
            "pairs": pairs_hash(self.pairs),
            "negatives": content_hash(negatives),
            "lists": content_hash(lists_content(self.lists)),
            "start": adapter_origin(self.start),
            "dev": self.dev.content_hash if self.dev else None,
        }

    def build(self, folder: Path) -> None:
        """Write ``adapter/`` and ``expert.json``; a killed training resumes from its last checkpoint.

        Raises:
            DataError: No usable training pair.
            CheckFailed: The loss or the vectors are not what training must give.
            OutOfMemory: A batch does not fit the memory.
        """
        if self._processes > processes().count:
            from stm_agent.train.launch import Order, launch

            launch(Order(job=self, folder=folder, checkpoints=checkpoint_folder()), self._processes)
            return
        from stm_agent.train.expert import train_expert

        train_expert(
            self.expert,
            self.pairs,
            self.negatives,
            backbone=self.backbone,
            train=self.train,
            start=self.start,
            query_prefix=self.instruction.query_prefix,
            passage_prefix=self.instruction.passage_prefix,
            seed=self.seed,
            folder=folder,
            prompts=self.prompts,
            lists=self.lists,
            helpers=self._helpers(),
            checkpoints=checkpoint_folder() if self.train.checkpoint_every else None,
            progress=lambda done, total, loss: show("train", f"loss {loss:.3f}", done, total),
        )
        # Freed memory is kept for later steps (see set_threads), and no later stage needs as much.
        release_memory()

    @property
    def _processes(self) -> int:
        """Processes that train together: those that a launcher has started, else what the domain asks for."""
        return processes().count if processes().count > 1 else self.train.processes

    def _models(self) -> dict[str, str]:
        from stm_agent.backbone.identity import source_identity

        models = {"backbone": self.backbone.model}
        if self.expert.learns_from_teacher:
            models["teacher"] = self.train.teacher
        if self.expert.asks_guide:
            models["guide"] = self.train.guide
        return {role: source_identity(name) for role, name in models.items()}

    def _helpers(self) -> Helpers:
        """Return what the loss may ask; nothing is loaded before it is asked for."""
        from stm_agent.backbone.load import load_model

        return Helpers(
            self._teacher if self.expert.learns_from_teacher else None,
            partial(load_model, self.train.guide),
            self._judge if self.train.evaluate_every else None,
        )

    def _teacher(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from stm_agent.evaluate.baselines import static_encoder
        from stm_agent.evaluate.cache import EmbeddingCache

        return EmbeddingCache(self.cache).encode(static_encoder(self.train.teacher), texts)

    def _judge(self, model: SentenceTransformer) -> float:
        from stm_agent.backbone.encoder import TextEncoder
        from stm_agent.errors import ConfigError

        if self.dev is None:
            raise ConfigError(
                f"expert {self.expert.name} is to be scored in training without dev; set evaluate_every: 0"
            )
        # The model changes with every step: its vectors are not worth caching.
        encoder = TextEncoder(model, identity="in training")
        # A stop waits for the end of the step, which leaves a checkpoint.
        with without_stops():
            return score_split(None, encoder, self.dev.documents, self.dev.split, self.instruction).ndcg_at_10


def training_speed(folder: Path) -> float:
    """Return the texts per second that a training reached when it ran."""
    return float(read_json(folder / "expert.json")["texts_per_second"])
