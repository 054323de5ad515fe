"""Jobs of ``stm-agent evaluate`` that the loop does not have: BM25, and mteb's own evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stm_agent.domain.collection import Collection
from stm_agent.evaluate.scoring import SCORES, ScoredTask, scores_to_json
from stm_agent.evaluate.tasks import METRICS
from stm_agent.files import read_json, write_json
from stm_agent.job import Job


@dataclass(frozen=True)
class Bm25Job(Job):
    """Scores BM25 on one task.

    Attributes:
        task: What is scored.
    """

    kind: ClassVar[str] = "bm25"
    task: ScoredTask

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the scores."""
        return {"task": self.task.content_hash}

    def build(self, folder: Path) -> None:
        """Write ``scores.json``, as a ``ScoringJob`` does."""
        from stm_agent.evaluate.baselines import bm25_run
        from stm_agent.evaluate.metrics import score

        split = self.task.split
        scores = score(bm25_run(self.task.documents, split.queries, ignored_ids=split.ignored_ids), split.qrels)
        write_json(folder / SCORES, {"scores": {self.task.name: scores_to_json(scores)}})


@dataclass(frozen=True)
class MtebJob(Job):
    """Scores a model by ``mteb.evaluate`` on a split of a collection.

    Attributes:
        model: A sentence-transformers folder, an ``embedded:`` name or a Hub name.
        task: Name of the split.
        collection: What is scored.
    """

    kind: ClassVar[str] = "mteb"
    model: str
    task: str
    collection: Collection

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the scores."""
        from stm_agent.backbone.identity import source_identity

        model, content = source_identity(self.model), self.collection.content_hash
        return {"model": model, "task": self.task, "collection": content}

    def build(self, folder: Path) -> None:
        """Write ``scores.json``: task name -> nDCG@10, Recall@100 and MRR@10.

        Raises:
            BackboneError: The model cannot be loaded.
            DataError: The collection has no such split.
        """
        from stm_agent.backbone.load import load_model
        from stm_agent.evaluate.tasks import evaluate_with_mteb, mteb_task

        scores = evaluate_with_mteb(load_model(self.model), mteb_task(self.collection, self.task))
        write_json(folder / SCORES, {"scores": {self.task: scores}})


def numbers_of(folder: Path, task: str) -> dict[str, float]:
    """Return nDCG@10, Recall@100 and MRR@10 of a task from any job that writes ``scores.json``."""
    row = read_json(folder / SCORES)["scores"][task]
    return {name: float(row[name]) for name in METRICS}
