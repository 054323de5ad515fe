"""Score a model by name: the same scoring job as in the loop, so that both share one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Collection
from stm_agent.domain.official import OfficialTask
from stm_agent.errors import ConfigError
from stm_agent.evaluate.baselines import ReadyModel
from stm_agent.evaluate.official import OfficialJob
from stm_agent.evaluate.scoring import ScoredTask, ScoringJob
from stm_agent.evaluate.single_jobs import Bm25Job, MtebJob, numbers_of
from stm_agent.loop.prepare import CACHE
from stm_agent.loop.single import build_job

BM25 = "bm25"
"""Name of the lexical baseline among the models."""


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
    if name != BM25 and engine == "mteb":
        return numbers_of(build_job(MtebJob(name, split, collection), runs), split)
    task = ScoredTask(split, collection.texts, collection.splits[split])
    return _fast(name, task, None, runs)


def evaluate_official(
    name: str,
    task: OfficialTask,
    *,
    runs: Path,
    engine: Literal["fast", "mteb"] = "mteb",
    instruction: Instruction | None = None,
) -> dict[str, float]:
    """Return nDCG@10, Recall@100 and MRR@10 of a model on an official MTEB retrieval task.

    Args:
        name: As in :func:`evaluate_model`.
        task: The task; its data comes from its folder or from the Hub.
        runs: Folder of stages and cached vectors.
        engine: mteb itself, or the fast scorer on the task's data; ``bm25`` is always scored by the latter.
        instruction: In front of queries and passages; None: the model's own prompts.

    Raises:
        ConfigError: mteb has no such task, or it lacks the split or the subset.
        DataError: The data is missing or cannot be fetched.
        BackboneError: The model cannot be loaded.
    """
    if name != BM25 and engine == "mteb":
        # Nothing is hashed or loaded for a task that cannot be scored.
        task.open()
        return numbers_of(build_job(OfficialJob(name, task, instruction), runs), task.name)
    from stm_agent.domain.hub import read_official

    return _fast(name, ScoredTask(task.name, *read_official(task)), instruction, runs)


def _fast(name: str, task: ScoredTask, instruction: Instruction | None, runs: Path) -> dict[str, float]:
    if name == BM25:
        return numbers_of(build_job(Bm25Job(task), runs), task.name)
    model = ReadyModel(name)
    asked = instruction or Instruction.none(model.open().model.prompts)
    return numbers_of(build_job(ScoringJob(model, ((task, asked),), runs / CACHE / "vectors"), runs), task.name)
