"""What an expert's loss needs in addition to the model: helper models, and what they computed for the training rows."""

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
    """Models and functions that a training can use; None: not available.

    Attributes:
        teacher: Computes vectors that experts with a ``teacher_weight`` or loss ``margin`` learn from.
        guide: Loads the encoder that detects false negatives in loss ``gist``.
        judge: Scores a model in training on dev, higher is better.
    """

    teacher: Teacher | None = None
    guide: Callable[[], SentenceTransformer] | None = None
    judge: Callable[[SentenceTransformer], float] | None = None


@dataclass(frozen=True)
class Aids:
    """What a loss may need in addition to the model; None: not needed.

    Attributes:
        lesson: A teacher's vectors of the rows; row numbers are the labels.
        mapping: Initial map from the student's space into the teacher's; it is trained too.
        grades: Grade of each passage column, ``[rows, passages]`` float32, 1 for the positive; for loss ``distil`` the
            teacher's scores, -inf: no passage.
        anchor: The backbone's vectors of the rows.
        guide: Encoder that detects false in-batch negatives.
    """

    lesson: Lesson | None = None
    mapping: nn.Linear | None = None
    grades: Tensor | None = None
    guide: SentenceTransformer | None = None
    anchor: Lesson | None = None


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
    """Compute with the helpers what the expert's loss needs for its planned rows.

    Args:
        model: The model in training, before its first step.
        expert: Its loss and weights decide what is needed.
        rows: All rows.
        plan: The batches that will be used.
        helpers: Teacher and guide.
        start: Adapter the expert continues from; its map into the teacher's space is reused.
        seed: Seed of the texts that a new map is fitted on.
        prefixes: The texts that can stand in front of queries, and the one in front of passages; the teacher gets the
            texts without them.

    Raises:
        ConfigError: A helper is needed and missing.
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
    grades = torch.tensor(rows.grades) if expert.loss in ("listwise", "distil") else None
    return Aids(lesson, mapping, grades, guide)
