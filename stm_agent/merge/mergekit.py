"""A recipe as mergekit's YAML, for people who use that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from stm_agent.merge.recipe import MEANS, Recipe

NAMES = {
    "linear": "linear",
    "task-arithmetic": "task_arithmetic",
    "slerp": "multislerp",
    "ties": "ties",
    "dare-linear": "dare_linear",
    "dare-ties": "dare_ties",
    "breadcrumbs": "breadcrumbs",
    "breadcrumbs-ties": "breadcrumbs_ties",
}


def mergekit_yaml(recipe: Recipe, experts: Sequence[str], base: str) -> str:
    """Return the recipe for ``mergekit-yaml``.

    Args:
        recipe: What was merged; weights of groups are told in a comment only, mergekit's filters being others.
        experts: Model folders, or ``base+adapter``.
        base: The base model.
    """
    models: list[dict[str, Any]] = [
        {"model": name, "parameters": _parameters(recipe, weight)}
        for name, weight in zip(experts, recipe.weights, strict=True)
    ]
    document: dict[str, Any] = {"merge_method": NAMES[recipe.method], "dtype": "float32"}
    if recipe.method == "linear":
        if recipe.base_weight:
            models.append({"model": base, "parameters": {"weight": recipe.base_weight}})
        document["parameters"] = {"normalize": True}
    else:
        document["base_model"] = base
        if recipe.method not in MEANS:
            document["parameters"] = {
                "normalize": recipe.method.endswith("ties"),
                "lambda": recipe.scale,
                "rescale": recipe.method.startswith("dare"),
            }
    text = yaml.safe_dump({**document, "models": models}, sort_keys=False)
    notes = [
        f"# Weights of {pattern}: {list(weights)}; not part of this file." for pattern, weights in recipe.groups.items()
    ]
    return "\n".join([*notes, text])


def _parameters(recipe: Recipe, weight: float) -> dict[str, float]:
    found = {"weight": weight}
    if recipe.method not in (*MEANS, "task-arithmetic"):
        found["density"] = recipe.density
    if recipe.method.startswith("breadcrumbs"):
        found["gamma"] = recipe.outliers
    return found
