"""sentence-transformers' own loss, fed by one packed forward for all columns of a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stm_agent.backbone.packed import PackedTransformer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def one_forward_loss(model: SentenceTransformer, scale: float) -> torch.nn.Module:
    """Return InfoNCE (``MultipleNegativesRankingLoss``) whose columns share one packed forward.

    The loss's own arithmetic is untouched; only the embedding of the columns is. Queries are short
    and passages long, so a forward for each pays for rows that are half empty.
    """
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    class OneForward(MultipleNegativesRankingLoss):
        def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
            columns = list(sentence_features)
            if not isinstance(self.model[0], PackedTransformer):
                return super().forward(columns, labels)
            together = self.model(_stack(columns))["sentence_embedding"]
            parts = together.split([len(column["input_ids"]) for column in columns])
            return self.compute_loss_from_embeddings(list(parts), labels)

    return OneForward(model, scale=scale)


def _stack(columns: list[dict[str, Any]]) -> dict[str, Tensor]:
    width = max(column["input_ids"].shape[1] for column in columns)

    def grow(name: str) -> Tensor:
        # Padding is free: the packed forward takes the valid tokens only.
        return torch.cat(
            [torch.nn.functional.pad(column[name], (0, width - column[name].shape[1])) for column in columns]
        )

    return {"input_ids": grow("input_ids"), "attention_mask": grow("attention_mask")}
