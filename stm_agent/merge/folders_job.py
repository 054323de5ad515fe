"""The job of ``stm-agent merge``: any adapters or models merged into one folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stm_agent.backbone.embedded import SCHEME
from stm_agent.backbone.identity import source_identity
from stm_agent.domain.spec import BackboneSpec
from stm_agent.job import Job
from stm_agent.merge.product import adapters_backbone, are_adapters, merge_folders
from stm_agent.merge.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class FoldersMergeJob(Job):
    """Merges expert folders by a recipe that a user wrote; the loop's search is the ``MergeJob``.

    Attributes:
        experts: Folders of adapters, or of full models.
        recipe: How they are merged.
        backbone: The model that the adapters belong to; None: the one they name.
        base: The base model instead.
    """

    kind: ClassVar[str] = "folders"
    experts: tuple[Path, ...]
    recipe: Recipe
    backbone: BackboneSpec | None
    base: str | None

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the folder; the experts' paths are written into its recipe, so they count too.

        Raises:
            ConfigError: An expert's folder is missing, they differ in kind or base, or the base is unknown.
        """
        spec = adapters_backbone(self.backbone, self.base, self.experts) if are_adapters(self.experts) else None
        root = spec.model if spec else self.base
        # Full models need a folder as their base; the merge names any other base as the fault.
        named = root is not None and (spec is not None or root.startswith(SCHEME) or Path(root).is_dir())
        return {
            "experts": [[str(folder), source_identity(str(folder))] for folder in self.experts],
            "recipe": self.recipe.model_dump(mode="json"),
            "backbone": spec.model_dump(mode="json") if spec else None,
            "base": [root, source_identity(root) if root and named else None],
        }

    def build(self, folder: Path) -> None:
        """Write ``model/`` with its recipe.

        Raises:
            ConfigError: The experts cannot be merged.
            CheckFailed: The written folder gives other vectors than the model had before saving.
        """
        merge_folders(self.experts, self.recipe, folder / "model", backbone=self.backbone, base=self.base)
