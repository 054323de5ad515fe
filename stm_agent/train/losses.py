"""sentence-transformers' own loss, fed by one packed forward for all columns of a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stm_agent.backbone.packed import PackedTransformer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def one_forward_loss(model: SentenceTransformer, scale: float, alias_weight: float = 0.0) -> torch.nn.Module:
    """Return InfoNCE (``MultipleNegativesRankingLoss``) whose columns share one packed forward.

    The loss's own arithmetic is untouched; only the embedding of the columns is. Queries are short
    and passages long, so a forward for each pays for rows that are half empty.

    Args:
        model: The model in training.
        scale: Factor on cosine similarity.
        alias_weight: Above 0 the last column is another name of the positive, and the same loss between alias
            and passages and between query and aliases is added with this weight: a passage is encoded
            once and taught by two queries.
    """
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    class OneForward(MultipleNegativesRankingLoss):
        def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
            parts = _embed(self.model, list(sentence_features))
            if not alias_weight:
                return self.compute_loss_from_embeddings(parts, labels)
            query, *passages, alias = parts
            asked = self.compute_loss_from_embeddings([query, *passages], labels)
            named = self.compute_loss_from_embeddings([alias, *passages], labels)
            tied = self.compute_loss_from_embeddings([query, alias], labels)
            return asked + alias_weight * (named + tied)

    return OneForward(model, scale=scale)


def _embed(model: SentenceTransformer, columns: list[dict[str, Tensor]]) -> list[Tensor]:
    """Return the columns' vectors ``[rows, dimension]``, each; one forward where the model packs."""
    if not isinstance(model[0], PackedTransformer):
        return [model(column)["sentence_embedding"] for column in columns]
    together: Tensor = model(_stack(columns))["sentence_embedding"]
    return list(together.split([len(column["input_ids"]) for column in columns]))


def _stack(columns: list[dict[str, Any]]) -> dict[str, Tensor]:
    width = max(column["input_ids"].shape[1] for column in columns)

    def grow(name: str) -> Tensor:
        # Padding is free: the packed forward takes the valid tokens only.
        return torch.cat(
            [torch.nn.functional.pad(column[name], (0, width - column[name].shape[1])) for column in columns]
        )

    return {"input_ids": grow("input_ids"), "attention_mask": grow("attention_mask")}
