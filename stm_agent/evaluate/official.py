"""The job that scores a model on an official MTEB task by ``mteb.evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.official import OfficialTask
from stm_agent.evaluate.scoring import SCORES
from stm_agent.files import write_json
from stm_agent.job import Job


@dataclass(frozen=True)
class OfficialJob(Job):
    """Scores a model on one split and subset of an official task.

    Attributes:
        model: A sentence-transformers folder, an ``embedded:`` name or a Hub name.
        task: The task.
        instruction: In front of queries and passages; None: the model's own prompts.
    """

    kind: ClassVar[str] = "official"
    model: str
    task: OfficialTask
    instruction: Instruction | None = None

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the scores; mteb's version, part of every key, pins the data on the Hub."""
        from stm_agent.backbone.identity import source_identity

        task = {name: value for name, value in asdict(self.task).items() if name != "data_dir"}
        asked = self.instruction and [self.instruction.query_prefix, self.instruction.passage_prefix]
        return {
            "model": source_identity(self.model),
            "task": task,
            "content": self.task.content(),
            "instruction": asked,
        }

    def build(self, folder: Path) -> None:
        """Write ``scores.json``: task name -> nDCG@10, Recall@100 and MRR@10.

        Raises:
            BackboneError: The model cannot be loaded.
            ConfigError: mteb has no such task, split or subset.
            DataError: The data cannot be fetched or read.
        """
        from stm_agent.backbone.load import load_model
        from stm_agent.domain.official import load_task
        from stm_agent.evaluate.tasks import evaluate_with_mteb

        task = self.task.open()
        # Read first, so that what is wrong with the data is one line that names it.
        load_task(task)
        model = load_model(self.model)
        if self.instruction is not None:
            model.prompts = {"query": self.instruction.query_prefix, "document": self.instruction.passage_prefix}
        write_json(folder / SCORES, {"scores": {self.task.name: evaluate_with_mteb(model, task)}})
