"""sentence-transformers' own loss, fed by one packed forward for all columns of a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stm_agent.backbone.packed import PackedTransformer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stm_agent.train.teacher import Lesson


def one_forward_loss(
    model: SentenceTransformer,
    scale: float,
    alias_weight: float = 0.0,
    *,
    lesson: Lesson | None = None,
    mapping: torch.nn.Linear | None = None,
    teacher_weight: float = 0.0,
) -> torch.nn.Module:
    """Return InfoNCE (``MultipleNegativesRankingLoss``) whose columns share one packed forward.

    The loss's own arithmetic is untouched; only the embedding of the columns is. Queries are short
    and passages long, so a forward for each pays for rows that are half empty.

    Args:
        model: The model in training.
        scale: Factor on cosine similarity.
        alias_weight: Above 0 the last column is another name of the positive, and the same loss between alias
            and passages and between query and aliases is added with this weight: a passage is encoded
            once and taught by two queries.
        lesson: A teacher's vectors of the rows, whose numbers come as labels; None is no teacher.
        mapping: First map from the student's space into the teacher's, trained along.
        teacher_weight: Weight of the distance to the teacher's vectors (``EmbedDistillLoss``, cosine).
    """
    from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss, MultipleNegativesRankingLoss

    class OneForward(MultipleNegativesRankingLoss):
        def __init__(self) -> None:
            super().__init__(model, scale=scale)
            self.distill = EmbedDistillLoss(model, "cosine") if lesson is not None else None
            if self.distill is not None:
                self.distill.projection = mapping

        def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
            parts = _embed(self.model, list(sentence_features))
            loss = self.contrast(parts, labels)
            if self.distill is None or lesson is None:
                return loss
            return loss + teacher_weight * self.distill.compute_loss_from_embeddings(parts, lesson.targets(labels))

        def contrast(self, parts: list[Tensor], labels: Tensor) -> Tensor:
            if not alias_weight:
                return self.compute_loss_from_embeddings(parts, labels)
            query, *passages, alias = parts
            asked = self.compute_loss_from_embeddings([query, *passages], labels)
            named = self.compute_loss_from_embeddings([alias, *passages], labels)
            tied = self.compute_loss_from_embeddings([query, alias], labels)
            return asked + alias_weight * (named + tied)

    return OneForward()


def _embed(model: SentenceTransformer, columns: list[dict[str, Tensor]]) -> list[Tensor]:
    """Return the columns' vectors ``[rows, dimension]``, each; one forward where the model packs."""
    if not isinstance(model[0], PackedTransformer):
        return [model(column)["sentence_embedding"] for column in columns]
    together: Tensor = model(_stack(columns))["sentence_embedding"]
    return list(torch.split(together, [len(column["input_ids"]) for column in columns]))


def _stack(columns: list[dict[str, Any]]) -> dict[str, Tensor]:
    width = max(column["input_ids"].shape[1] for column in columns)

    def grow(name: str) -> Tensor:
        # Padding is free: the packed forward takes the valid tokens only.
        return torch.cat(
            [torch.nn.functional.pad(column[name], (0, width - column[name].shape[1])) for column in columns]
        )

    return {"input_ids": grow("input_ids"), "attention_mask": grow("attention_mask")}
