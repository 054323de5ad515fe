"""Score a model by name: the same scoring job as in the loop, so that both share one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Collection
from stm_agent.errors import ConfigError
from stm_agent.evaluate.baselines import ReadyModel
from stm_agent.evaluate.scoring import ScoredTask, ScoringJob
from stm_agent.evaluate.single_jobs import Bm25Job, MtebJob, numbers_of
from stm_agent.job import Job
from stm_agent.loop.prepare import CACHE
from stm_agent.loop.single import build_job


def evaluate_model(
    name: str, collection: Collection, split: str, *, runs: Path, engine: Literal["fast", "mteb"] = "fast"
) -> dict[str, float]:
    """Return nDCG@10, Recall@100 and MRR@10 of a model on one split.

    Args:
        name: A sentence-transformers folder, an ``embedded:`` name, a Hub name, or ``bm25``.
        collection: What to search and judge.
        split: Name of the judged split.
        runs: Folder of stages and cached vectors.
        engine: The fast scorer, or mteb itself (encodes everything again, no cached vectors).

    Raises:
        ConfigError: The split does not exist.
        BackboneError: The model cannot be loaded.
    """
    if split not in collection.splits:
        raise ConfigError(f"{collection.name} has no split '{split}'; it has {', '.join(sorted(collection.splits))}")
    task = ScoredTask(split, collection.texts, collection.splits[split])
    job: Job
    if name == "bm25":
        job = Bm25Job(task)
    elif engine == "mteb":
        job = MtebJob(name, split, collection)
    else:
        model = ReadyModel(name)
        job = ScoringJob(model, ((task, Instruction.none(model.open().model.prompts)),), runs / CACHE / "vectors")
    return numbers_of(build_job(job, runs), split)


def evaluate_official(name: str, task: str, *, runs: Path) -> dict[str, float]:
    """Score a model on an official MTEB retrieval task; the Hub must be reachable.

    Raises:
        ConfigError: mteb has no such task.
        BackboneError: The model cannot be loaded.
    """
    return numbers_of(build_job(MtebJob(name, task), runs), task)
