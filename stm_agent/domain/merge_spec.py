"""The part of a domain file that says how experts are merged."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from stm_agent.domain.fields import Positive, PositiveReal, Real, Spec, Switch

MethodName = Literal[
    "linear", "task-arithmetic", "slerp", "ties", "dare-linear", "dare-ties", "breadcrumbs", "breadcrumbs-ties"
]
METHODS: tuple[MethodName, ...] = get_args(MethodName)


def _hyphened(value: object) -> object:
    """Return a method's name as this package spells it; mergekit writes ``dare_ties``."""
    return value.replace("_", "-") if isinstance(value, str) else value


Method = Annotated[MethodName, BeforeValidator(_hyphened)]
Density = Annotated[float, Field(gt=0, le=1)]


class MergeSpec(Spec):
    """Merging of the experts.

    Attributes:
        methods: Methods that are searched; ``method: NAME`` may be written for a single one. ``linear`` is a mean of
            experts and start, ``task-arithmetic`` a sum with free factors; a surrogate estimates both. Merges of the
            other methods are built and encoded.
        search: How weights of sums are searched on the surrogate: seeded draws, STM's grid, CMA-ES, Optuna's TPE,
            greedy soup.
        candidates: Weightings the surrogate scores, about.
        step: Grid width of the weights.
        scales: Factors on the best weightings, tried in addition to 1; below 1 a merge goes back towards the start.
        densities: Shares of entries that stay, tried first in ties, dare and breadcrumbs.
        forgetting_budget: nDCG@10 a merge may lose on the general tasks against the backbone.
        verify: Merges that are really encoded: this many sums, and this many of each other method.
        instructions: Search the retrieval instruction once more, for the merge.
        variants: Train every variant of every expert whole, and let the search choose among all of them; takes as many
            times longer as there are variants.
    """

    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("linear",)
    search: Literal["random", "grid", "cma", "tpe", "greedy"] = "random"
    candidates: Positive = 400
    step: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.1
    scales: tuple[PositiveReal, ...] = (0.25, 0.5, 0.75, 1.25)
    densities: Annotated[tuple[Density, ...], Field(min_length=1)] = (0.2, 0.5, 0.9)
    forgetting_budget: Real = 0.02
    verify: Positive = 3
    instructions: Switch = False
    variants: Switch = False

    @model_validator(mode="before")
    @classmethod
    def _method_is_one_of_methods(cls, values: object) -> object:
        if not isinstance(values, dict) or "method" not in values:
            return values
        if "methods" in values:
            raise ValueError("merge has both method and methods; keep methods")
        if _hyphened(values["method"]) not in METHODS:
            raise ValueError(f"merge has no method '{values['method']}'; name one of {', '.join(METHODS)}")
        rest = {name: value for name, value in values.items() if name != "method"}
        return {**rest, "methods": (values["method"],)}
