"""What an expert's loss needs beside the model: who can help, and what they made of the training texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.spec import ExpertSpec
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor, nn

    from stm_agent.train.data import Rows
    from stm_agent.train.teacher import Lesson, Teacher


@dataclass(frozen=True)
class Helpers:
    """Who can be asked; None: nobody.

    Attributes:
        teacher: Makes vectors that experts with a ``teacher_weight`` or loss ``margin`` learn from.
        guide: Loads the encoder that tells false negatives in loss ``gist``.
        judge: Scores a model in training on dev, higher is better.
    """

    teacher: Teacher | None = None
    guide: Callable[[], SentenceTransformer] | None = None
    judge: Callable[[SentenceTransformer], float] | None = None


@dataclass(frozen=True)
class Aids:
    """What a loss may need beside the model; None: not there.

    Attributes:
        lesson: A teacher's vectors of the rows, whose numbers come as labels.
        mapping: First map from the student's space into the teacher's, trained along.
        grades: Grade of each passage column, ``[rows, passages]`` float32, 1 for the positive.
        guide: Encoder that tells which in-batch negatives are false.
    """

    lesson: Lesson | None = None
    mapping: nn.Linear | None = None
    grades: Tensor | None = None
    guide: SentenceTransformer | None = None


def prepare_aids(
    model: SentenceTransformer,
    expert: ExpertSpec,
    rows: Rows,
    plan: Iterable[Sequence[int]],
    helpers: Helpers,
    *,
    start: Path | None,
    seed: int,
    prefixes: tuple[Sequence[str], str],
) -> Aids:
    """Ask the helpers what the expert's loss needs to know about its planned rows.

    Args:
        model: The model in training, before its first step.
        expert: Says what is needed.
        rows: All rows.
        plan: The batches that will be used.
        helpers: Who can be asked.
        start: Adapter the expert goes on from; its map into the teacher's space is taken over.
        seed: Seed of the texts that a new map is fitted on.
        prefixes: Texts that can stand in front of queries, and the one of passages, which a teacher does not read.

    Raises:
        ConfigError: A helper is needed and not there.
    """
    import torch

    from stm_agent.train.teacher import first_map, prepare_lesson

    lesson = mapping = guide = None
    if expert.learns_from_teacher:
        if helpers.teacher is None:
            need = "a teacher_weight" if expert.teacher_weight else "loss margin"
            raise ConfigError(f"expert {expert.name} has {need} and no teacher; name one in train: teacher")
        lesson = prepare_lesson(rows, plan, helpers.teacher, query_prefixes=prefixes[0], passage_prefix=prefixes[1])
    if lesson is not None and expert.teacher_weight:
        mapping = first_map(model, lesson, start, seed)
    if expert.asks_guide:
        if helpers.guide is None:
            raise ConfigError(f"expert {expert.name} has loss {expert.loss} and no guide; name one in train: guide")
        guide = helpers.guide().eval().requires_grad_(False)
    grades = torch.tensor(rows.grades) if expert.loss == "listwise" else None
    return Aids(lesson, mapping, grades, guide)
