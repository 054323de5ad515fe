"""A probe rates training pairs before a long LoRA run: a training that is cheap, scored on the search half of dev.

Which cheap training orders data as a LoRA run does is measured by ``benchmarks/probe.py``; the cheapest that does so
well enough is the default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import WRITTEN, BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.scoring import ScoredTask, ScoringJob, read_scores
from stm_agent.files import sha256_text
from stm_agent.job import Job
from stm_agent.loop.context import RunContext
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.train.job import NO_NEGATIVES, Negatives, TrainingJob
from stm_agent.train.query_map import QueryMapJob
from stm_agent.train.query_side import QuerySideJob

ProbeKind = Literal["query-map", "query-side", "lora"]
"""``query-map``: a linear map on query vectors; ``query-side``: a LoRA adapter of the side of queries against fixed
passages; ``lora``: a LoRA run of both sides."""

DEFAULT_PROBE: ProbeKind = "lora"
"""The cheapest that ordered variants of data as a LoRA run did (``benchmarks/probe.py``); the others order some of them
wrongly."""

STEPS: Mapping[ProbeKind, int] = {"query-map": 100, "query-side": 40, "lora": 16}
"""Optimiser steps of each kind."""

MOST_PAIRS = 1000
"""Pairs that a probe trains on; more are drawn by hash, so that its cost has a bound."""


@dataclass(frozen=True, kw_only=True)
class ProbeSetting:
    """What training pairs are rated with.

    Attributes:
        backbone: The model before adaptation.
        train: Options of all trainings.
        task: What is scored: the search half of dev over a part of the corpus, whose passages also compete in training.
        instruction: What stands in front of queries and passages.
        build: Returns the folder of a job, built if necessary.
        groups: Group -> passages that are relevant to it or too near to be a negative.
        seed: Seed of weights and batches.
        cache: Folder of cached vectors.
    """

    backbone: BackboneSpec
    train: TrainSpec
    task: ScoredTask
    instruction: Instruction
    build: Callable[[Job], Path]
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    seed: int = 0
    cache: Path

    @classmethod
    def of(cls, context: RunContext, task: ScoredTask) -> ProbeSetting:
        """Return the setting of a run, without an instruction of its own."""
        return cls(
            backbone=context.spec.backbone,
            train=context.spec.train,
            task=task,
            instruction=Instruction.none(context.backbone.open().model.prompts),
            build=context.build,
            groups=context.data.groups,
            seed=context.seed,
            cache=context.cache,
        )

    def untrained(self, task: ScoredTask | None = None) -> Scores:
        """Return the scores of the backbone on a task; None: the setting's."""
        return self._scored(AdaptedModel(self.backbone), task or self.task)

    def _scored(self, model: AdaptedModel, task: ScoredTask) -> Scores:
        return read_scores(self.build(ScoringJob(model, ((task, self.instruction),), self.cache)))[task.name]


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Result of a probe.

    Attributes:
        scores: Scores of the trained model on the setting's task.
        seconds: Wall time of this call; next to nothing if the jobs were built before.
        model: The trained model.
    """

    scores: Scores
    seconds: float
    model: AdaptedModel


def probe(
    setting: ProbeSetting,
    pairs: Sequence[Pair],
    kind: ProbeKind = DEFAULT_PROBE,
    *,
    steps: int | None = None,
    negatives: Negatives = NO_NEGATIVES,
    options: Mapping[str, object] | None = None,
) -> Probed:
    """Train on pairs as cheaply as ``kind`` says and score the result; the same arguments give the same scores.

    Args:
        setting: Model and task.
        pairs: What is rated.
        kind: How it is trained.
        steps: Optimiser steps; None: those of ``STEPS``.
        negatives: Hard negatives of the pairs; only ``lora`` learns from them.
        options: Options of the expert that is trained, by name, for ``lora``; None: the usual ones.

    Raises:
        DataError: No pair can be trained on.
    """
    began = time.monotonic()
    chosen = tuple(sorted(pairs, key=lambda pair: sha256_text(pair.id))[:MOST_PAIRS])
    count = STEPS[kind] if steps is None else steps
    expert = ExpertSpec.model_validate({"name": "probe", "sources": (WRITTEN,), "steps": count, **(options or {})})
    model = _trained(setting, chosen, kind, expert, negatives)
    scores = setting._scored(model, setting.task)
    return Probed(scores=scores, seconds=time.monotonic() - began, model=model)


def score_probed(setting: ProbeSetting, model: AdaptedModel, task: ScoredTask) -> Scores:
    """Return the scores of a probe's model on another task, such as the accept half."""
    return setting._scored(model, task)


def _map_job(setting: ProbeSetting, pairs: tuple[Pair, ...], steps: int) -> QueryMapJob:
    return QueryMapJob(
        model=AdaptedModel(setting.backbone),
        pairs=pairs,
        pool=_competing(setting, pairs),
        groups=setting.groups,
        instruction=setting.instruction,
        scale=setting.train.scale,
        steps=steps,
        folds=0,
        seed=setting.seed,
        cache=setting.cache,
    )


def _trained(
    setting: ProbeSetting, pairs: tuple[Pair, ...], kind: ProbeKind, expert: ExpertSpec, negatives: Negatives
) -> AdaptedModel:
    start = AdaptedModel(setting.backbone)
    if kind == "query-map":
        return replace(start, query_map=setting.build(_map_job(setting, pairs, expert.steps)) / "map")
    if kind == "query-side":
        job: Job = QuerySideJob(
            expert=ExpertSpec(name="probe", sources=(WRITTEN,), side="query", steps=expert.steps),
            train=setting.train,
            backbone=setting.backbone,
            documents=start,
            pairs=pairs,
            pool=_competing(setting, pairs),
            groups=setting.groups,
            instruction=setting.instruction,
            seed=setting.seed,
            cache=setting.cache,
        )
        return replace(start, queries=_adapted(setting, setting.build(job)))
    job = TrainingJob(
        expert=expert,
        train=setting.train.model_copy(update={"evaluate_every": 0, "patience": 0}),
        backbone=setting.backbone,
        pairs=pairs,
        negatives=negatives,
        instruction=setting.instruction,
        seed=setting.seed,
        cache=setting.cache,
    )
    return _adapted(setting, setting.build(job))


def _adapted(setting: ProbeSetting, folder: Path) -> AdaptedModel:
    return AdaptedModel(setting.backbone, (folder / "adapter",), (1.0,))


def _competing(setting: ProbeSetting, pairs: Sequence[Pair]) -> dict[str, str]:
    """Return the passages that compete in training: those of the task, and the pairs' own."""
    pool = dict(setting.task.documents)
    texts = set(pool.values())
    for pair in pairs:
        if pair.positive not in texts:
            texts.add(pair.positive)
            pool[f"positive of {pair.id}"] = pair.positive
    return pool
