"""Score a model on a suite of official tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Literal, TypedDict

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.official import OfficialTask
from stm_agent.domain.suites import Suite, SuiteTask
from stm_agent.errors import DataError
from stm_agent.loop.evaluate_single import evaluate_official


class SuiteRow(TypedDict):
    """Scores of one task.

    Attributes:
        task: MTEB's name.
        split: The judged split.
        subset: The subset.
        ndcg_at_10: Mean over its queries.
        recall_at_100: The same.
        mrr_at_10: The same.
    """

    task: str
    split: str
    subset: str
    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float


class SuiteReport(TypedDict):
    """Scores of a suite.

    Attributes:
        suite: Its name.
        model: The model.
        instructions: Whether queries and passages had the suite's instructions.
        rows: One for each task.
        mean_ndcg_at_10: Mean over the tasks; those of a group count as one.
    """

    suite: str
    model: str
    instructions: bool
    rows: list[SuiteRow]
    mean_ndcg_at_10: float


def evaluate_suite(
    name: str,
    suite: Suite,
    *,
    data_dir: Path | None,
    runs: Path,
    engine: Literal["fast", "mteb"] = "mteb",
    instructions: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> SuiteReport:
    """Score a model on all tasks of a suite; finished tasks are read, not scored again.

    Args:
        name: The model, or ``bm25``.
        suite: The tasks.
        data_dir: Folder with data sets in the Hub's layout; None: the Hub.
        runs: Folder of stages and cached vectors.
        engine: mteb itself, or the fast scorer.
        instructions: Put the suite's instructions in front of queries and passages, in place of the model's prompts.
        progress: Receives a line for each task.

    Raises:
        DataError: Data is missing; before anything is scored, if it is looked for in a folder.
        BackboneError: The model cannot be loaded.
    """
    require_data(suite, data_dir)
    rows = []
    for number, task in enumerate(suite.tasks, 1):
        progress(f"{task.label}, {number} of {len(suite.tasks)}")
        asked = Instruction(query=task.instruction, passage=suite.passage) if instructions else None
        official = official_of(task, data_dir)
        scores = evaluate_official(name, official, runs=runs, engine=engine, instruction=asked)
        rows.append(SuiteRow(task=task.name, split=task.split, subset=task.subset, **_numbers(scores)))
    return SuiteReport(
        suite=suite.name,
        model=name,
        instructions=instructions,
        rows=rows,
        mean_ndcg_at_10=suite_mean(suite, [row["ndcg_at_10"] for row in rows]),
    )


def official_of(task: SuiteTask, data_dir: Path | None) -> OfficialTask:
    """Return the official task of a suite's row."""
    return OfficialTask(name=task.name, split=task.split, subset=task.subset, data_dir=data_dir)


def require_data(suite: Suite, data_dir: Path | None) -> None:
    """Check that a folder has the data of every task.

    Raises:
        DataError: It lacks some; the message has the command for the first one, and names the others.
    """
    missing: dict[str, DataError] = {}
    for task in suite.tasks if data_dir is not None else ():
        try:
            official_of(task, data_dir).open()
        except DataError as error:
            missing.setdefault(task.name, error)
    if missing:
        first, *others = missing
        rest = f" (also missing: {', '.join(others)})" if others else ""
        raise DataError(f"{missing[first]}{rest}")


def suite_mean(suite: Suite, scores: Sequence[float]) -> float:
    """Return the mean of the tasks' scores; tasks of one group count as one."""
    groups: dict[str, list[float]] = {}
    for task, score in zip(suite.tasks, scores, strict=True):
        groups.setdefault(task.group or task.label, []).append(score)
    return mean(map(mean, groups.values()))


class _Numbers(TypedDict):
    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float


def _numbers(scores: dict[str, float]) -> _Numbers:
    return _Numbers(
        ndcg_at_10=scores["ndcg_at_10"], recall_at_100=scores["recall_at_100"], mrr_at_10=scores["mrr_at_10"]
    )
