"""A recipe as mergekit's YAML; the file says which parts mergekit cannot reproduce."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
DIFFERENT = {
    "slerp": "mergekit's multislerp turns around a tangent point and has another length",
    "dare-linear": "mergekit draws other entries",
    "dare-ties": "mergekit draws other entries",
}
"""Methods that mergekit 0.1.5 computes differently, and how."""


def mergekit_yaml(recipe: Recipe, experts: Sequence[str], base: str, *, notes: Sequence[str] = ()) -> str:
    """Return the recipe for ``mergekit-yaml``.

    Args:
        recipe: What was merged.
        experts: Model folders, or ``base+adapter``.
        base: The base model.
        notes: Further comments, one line each; all comments come first.
    """
    comments = [*notes]
    if recipe.method in DIFFERENT:
        comments.append(f"not the same as what was merged: {DIFFERENT[recipe.method]}")
    comments += [
        f"not the same as what was merged: mergekit's filters cannot express weights {list(weights)} of {pattern}"
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
                {"model": name, "parameters": {"weight": _weight(recipe, number), **_options(recipe, number)}}
                for number, name in enumerate(experts)
            ],
        }
    return "\n".join([*(f"# {comment}" for comment in comments), yaml.safe_dump(document, sort_keys=False)])


Part = float | list[dict[str, str | float]]
"""A number, or a number for each part of the model, as mergekit's list of filters."""


def _mean(recipe: Recipe, experts: Sequence[str], base: str) -> dict[str, object]:
    """Return a mean of whole models; the base has the rest of 1 that the experts' scaled shares leave."""
    models = [{"model": name, "parameters": {"weight": _weight(recipe, number)}} for number, name in enumerate(experts)]
    if recipe.method == "slerp":
        return {"merge_method": NAMES["slerp"], "dtype": "float32", "base_model": base, "models": models}
    if recipe.base_weight or recipe.scale != 1:
        rest = _by_part(recipe, lambda shares: 1 - recipe.scale * sum(shares))
        models.append({"model": base, "parameters": {"weight": rest}})
    return {"merge_method": "linear", "dtype": "float32", "parameters": {"normalize": False}, "models": models}


def _weight(recipe: Recipe, number: int) -> Part:
    scale = recipe.scale if recipe.method == "linear" else 1.0
    return _by_part(recipe, lambda weights: scale * weights[number])


def _by_part(recipe: Recipe, value: Callable[[Sequence[float]], float]) -> Part:
    """Return a value of the weights; for recipes with groups, mergekit's list of filters, of which the first counts."""
    parts = [(_filter(pattern), value(recipe.shares(weights))) for pattern, weights in recipe.groups.items()]
    filters: list[dict[str, str | float]] = [{"filter": name, "value": own} for name, own in parts if name is not None]
    common = value(recipe.shares(recipe.weights))
    return [*filters, {"value": common}] if filters else common


def _filter(pattern: str) -> str | None:
    """Return the part of a name that mergekit looks for, or None if a pattern has several parts."""
    piece = pattern.strip("*")
    return piece if piece and not any(sign in piece for sign in WILD) else None


def _options(recipe: Recipe, number: int) -> dict[str, float]:
    options: dict[str, float] = {}
    if recipe.method != "task-arithmetic":
        options["density"] = recipe.density[number] if isinstance(recipe.density, tuple) else recipe.density
    if recipe.method.startswith("breadcrumbs"):
        options["gamma"] = recipe.outliers
    return options
