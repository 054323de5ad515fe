"""Merge folders that a user names, by the executor as every stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stm_agent.domain.spec import BackboneSpec
from stm_agent.loop.single import build_job, copy_result, fresh_output
from stm_agent.merge.folders_job import FoldersMergeJob
from stm_agent.merge.product import MergedFolder
from stm_agent.merge.recipe import Recipe


def merge_experts_into(
    experts: Sequence[Path],
    recipe: Recipe,
    output: Path,
    *,
    runs: Path,
    backbone: BackboneSpec | None,
    base: str | None,
) -> MergedFolder:
    """Merge expert folders into ``output``; see :func:`stm_agent.merge.product.merge_folders`.

    Returns:
        The model's folder, the method, the weight of each expert, and whether the merge is one LoRA adapter too.

    Raises:
        ConfigError: ``output`` exists, or the experts cannot be merged.
        CheckFailed: The written folder gives other vectors than the model had before saving.
    """
    target = fresh_output(output)
    job = FoldersMergeJob(experts=tuple(experts), recipe=recipe, backbone=backbone, base=base)
    model = build_job(job, runs) / "model"
    copy_result(model, target)
    weights = dict(zip(map(str, experts), recipe.weights, strict=True))
    exact = (target / "adapter").is_dir()
    return {"model": str(output), "method": recipe.method, "weights": weights, "exact_adapter": exact}
