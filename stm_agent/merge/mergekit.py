"""A recipe as mergekit's YAML, for people who use that; where mergekit has no equal, the file says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
WILD = "*?["
APART = {
    "slerp": "mergekit's multislerp turns around a tangent point and has another length",
    "dare-linear": "mergekit draws other entries",
    "dare-ties": "mergekit draws other entries",
}
"""What of a method has no equal in mergekit 0.1.5."""


def mergekit_yaml(recipe: Recipe, experts: Sequence[str], base: str, *, notes: Sequence[str] = ()) -> str:
    """Return the recipe for ``mergekit-yaml``.

    Args:
        recipe: What was merged.
        experts: Model folders, or ``base+adapter``.
        base: The base model.
        notes: What else a reader must know, a line each; they come first, as what has no equal in mergekit.
    """
    told = [*notes]
    if recipe.method in APART:
        told.append(f"not the same as what was merged: {APART[recipe.method]}")
    told += [
        f"not the same as what was merged: weights {list(weights)} of {pattern} cannot be told by mergekit's filters"
        for pattern, weights in recipe.groups.items()
        if _filter(pattern) is None
    ]
    if recipe.method in MEANS:
        document = _mean(recipe, experts, base)
    else:
        document = {
            "merge_method": NAMES[recipe.method],
            "dtype": "float32",
            "base_model": base,
            "parameters": {
                "normalize": recipe.method.endswith("ties"),
                "lambda": recipe.scale,
                "rescale": recipe.method.startswith("dare"),
            },
            "models": [
                {"model": name, "parameters": {"weight": _weight(recipe, number), **_options(recipe)}}
                for number, name in enumerate(experts)
            ],
        }
    return "\n".join([*(f"# {note}" for note in told), yaml.safe_dump(document, sort_keys=False)])


def _mean(recipe: Recipe, experts: Sequence[str], base: str) -> dict[str, Any]:
    """Return a mean of whole models; the base takes what the experts' shares, by the scale, lack of 1."""
    models = [{"model": name, "parameters": {"weight": _weight(recipe, number)}} for number, name in enumerate(experts)]
    if recipe.method == "slerp":
        return {"merge_method": NAMES["slerp"], "dtype": "float32", "base_model": base, "models": models}
    if recipe.base_weight or recipe.scale != 1:
        rest = _by_part(recipe, lambda shares: 1 - recipe.scale * sum(shares))
        models.append({"model": base, "parameters": {"weight": rest}})
    return {"merge_method": "linear", "dtype": "float32", "parameters": {"normalize": False}, "models": models}


def _weight(recipe: Recipe, number: int) -> Any:  # noqa: ANN401 - YAML
    scale = recipe.scale if recipe.method == "linear" else 1.0
    return _by_part(recipe, lambda weights: scale * weights[number])


def _by_part(recipe: Recipe, value: Callable[[Sequence[float]], float]) -> Any:  # noqa: ANN401 - YAML
    """Return a value of the weights; where parts have their own, mergekit's list of filters, the first that fits."""
    parts = [(_filter(pattern), value(recipe.shares(weights))) for pattern, weights in recipe.groups.items()]
    told = [{"filter": name, "value": one} for name, one in parts if name is not None]
    common = value(recipe.shares(recipe.weights))
    return [*told, {"value": common}] if told else common


def _filter(pattern: str) -> str | None:
    """Return the piece of a name that mergekit looks for, or None where a pattern is more than one piece."""
    piece = pattern.strip("*")
    return piece if piece and not any(sign in piece for sign in WILD) else None


def _options(recipe: Recipe) -> dict[str, float]:
    found: dict[str, float] = {}
    if recipe.method != "task-arithmetic":
        found["density"] = recipe.density
    if recipe.method.startswith("breadcrumbs"):
        found["gamma"] = recipe.outliers
    return found
