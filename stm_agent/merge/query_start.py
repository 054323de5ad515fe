"""What the side of queries starts from, on top of the model of the passages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stm_agent.domain.spec import BackboneSpec
from stm_agent.merge.adapted import AdaptedModel

INCUMBENT = "incumbent"
"""Name under which the model of the passages is one of the members of a merge of experts of queries."""


@dataclass(frozen=True, kw_only=True)
class QueryStart:
    """What experts of queries are trained and merged on.

    Attributes:
        documents: The model whose vectors the passages keep.
        backbone: What the adapters of queries belong to: the backbone of the passages, or their merge as a model of
            its own.
        adapter: Adapter that training starts from; None: a new one.
    """

    documents: AdaptedModel
    backbone: BackboneSpec
    adapter: Path | None


def standing_on(backbone: BackboneSpec, stage: Path) -> BackboneSpec:
    """Return a backbone with its weights taken from the ``model/`` of an export's stage, which has its layers only."""
    return backbone.model_copy(update={"model": str(stage / "model"), "layers": None})
