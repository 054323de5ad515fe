"""The export job: a merge as a plain sentence-transformers folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypedDict

from stm_agent.files import write_json
from stm_agent.job import Job
from stm_agent.merge.adapted import AdaptedModel

SIDES = "sides.json"
"""File of a model with two sides, see :class:`Sides`."""


class Sides(TypedDict, total=False):
    """What encodes the passages of a model whose queries are encoded by another one.

    Attributes:
        passages: The ``start`` as it was, or a ``merged`` model.
        tokens: Tokens of each passage that are read; missing in folders of earlier versions.
    """

    passages: Literal["start", "merged"]
    tokens: int


@dataclass(frozen=True, kw_only=True)
class ExportJob(Job):
    """Writes a merge as a plain sentence-transformers folder with its recipe and its card.

    Attributes:
        model: What is exported.
        prompts: sentence-transformers prompts, ``query`` and ``document``.
        card: Model card, Markdown.
    """

    kind: ClassVar[str] = "export"
    model: AdaptedModel
    prompts: Mapping[str, str]
    card: str

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the folder."""
        return {"model": self.model.source_key(), "prompts": dict(self.prompts), "card": self.card}

    def build(self, folder: Path) -> None:
        """Write ``model/``; of a merge also its recipe, its mergekit.yaml and, for a sum, ``adapter/``.

        Raises:
            CheckFailed: The weights are not finite, or the saved folder does not give the same vectors.
        """
        from stm_agent.backbone.load import load_backbone
        from stm_agent.backbone.query_map import with_map
        from stm_agent.merge.export import export_merged, export_sides

        target, delta, prompts = folder / "model", self.model.delta(), dict(self.prompts)
        fresh = load_backbone(self.model.backbone)
        queries = self.model.queries or (self.model.documents if self.model.query_map else None)
        if queries is None:
            export_merged(fresh, delta, target, prompts=prompts, card=self.card)
            self._describe(self.model, target, "adapter")
            return
        side = load_backbone(queries.backbone)
        if self.model.query_map is not None:
            side = with_map(side, self.model.query_map)
        export_sides((fresh, delta), (side, queries.delta()), target, prompts=prompts, card=self.card)
        untouched = self.model.documents.delta() is None
        # An index of the start that was built with more tokens of each passage has other vectors.
        write_json(target / SIDES, {"passages": "start" if untouched else "merged", "tokens": fresh.max_seq_length})
        # The recipe is that of the side that was merged last; the other side has an adapter of its own.
        if self.model.queries is not None:
            self._describe(self.model.documents, target, "document_adapter")
        self._describe(queries, target, "adapter")

    @staticmethod
    def _describe(model: AdaptedModel, target: Path, name: str) -> None:
        """Write the recipe of one side and, if it is a sum, its adapter."""
        from stm_agent.merge.delta import LoraDelta, save_delta
        from stm_agent.merge.product import write_recipe

        delta = model.delta()
        if delta is not None:
            write_recipe(target, model.recipe, list(model.adapters), model.backbone)
        if isinstance(delta, LoraDelta):
            save_delta(delta, target / name, base=model.backbone.model)
