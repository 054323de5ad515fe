"""A merge as data: method, weights and options; and the delta it makes of experts' deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from stm_agent.domain.fields import Count, Real, Share, Spec
from stm_agent.errors import ConfigError
from stm_agent.merge.delta import Delta, LoraDelta, check_same_base, combine
from stm_agent.merge.methods import Knobs, MethodName, merge_matrix

if TYPE_CHECKING:
    from torch import Tensor

Weight = Annotated[float, Field(allow_inf_nan=False)]
Weights = Annotated[tuple[Weight, ...], Field(min_length=1)]
MEANS = ("linear", "slerp")
"""Methods whose weights are shares of a mean: relative to their sum, the base's included."""
STACKED = ("linear", "task-arithmetic")
"""Methods that are exact on adapters without forming a matrix."""


class Recipe(Spec):
    """How experts become one model.

    Attributes:
        method: ``linear`` (mean, model soup), ``task-arithmetic`` (sum), ``slerp`` (mean on the sphere), ``ties``,
            ``dare-linear``, ``dare-ties``, ``breadcrumbs``, ``breadcrumbs-ties``.
        weights: One for each expert.
        base_weight: Weight of the base model as one more expert, in means.
        density: Share of a delta's entries that stay, in ties, dare and breadcrumbs.
        outliers: Share of the largest entries that breadcrumbs drops.
        scale: Factor on the merged delta.
        seed: Seed of what dare drops.
        groups: Pattern of weight names (``layers.0.*``) -> the weights for these; the first that fits counts.
    """

    method: MethodName = "linear"
    weights: Weights
    base_weight: Real = 0.0
    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    outliers: Share = 0.01
    scale: Weight = 1.0
    seed: Count = 0
    groups: dict[str, Weights] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _weights_make_a_merge(self) -> Recipe:
        if self.base_weight and self.method not in MEANS:
            raise ValueError(f"base_weight counts in {' and '.join(MEANS)} only, {self.method} adds to the base")
        for where, weights in {"weights": self.weights, **self.groups}.items():
            if len(weights) != len(self.weights):
                raise ValueError(f"{where}: {len(weights)} weights for {len(self.weights)} experts")
            if not any(weights):
                raise ValueError(f"{where}: all are 0, that is the base model; give at least one other weight")
            if self.method in MEANS and abs(sum(weights) + self.base_weight) < 1e-6:
                raise ValueError(f"{where}: they sum to 0, of which {self.method} cannot make a mean")
        return self

    def weights_of(self, name: str) -> tuple[float, ...]:
        """Return the weights that count for one weight of the model; in means they are shares of 1."""
        return self.shares(
            next((own for pattern, own in self.groups.items() if fnmatchcase(name, pattern)), self.weights)
        )

    def shares(self, weights: Weights) -> tuple[float, ...]:
        """Return weights as the method takes them: in means shares of 1, beside the base's."""
        total = sum(weights) + self.base_weight if self.method in MEANS else 1.0
        return tuple(weight / total for weight in weights)

    def factors(self, name: str) -> list[float]:
        """Return what each expert's delta of one weight is multiplied by, where the merge is their sum."""
        return [self.scale * weight for weight in self.weights_of(name)]

    @property
    def knobs(self) -> Knobs:
        """What the method is told beside the weights."""
        return Knobs(density=self.density, outliers=self.outliers, scale=self.scale, seed=self.seed)


@dataclass(frozen=True)
class MergedDelta(Delta):
    """A merge that is computed one matrix at a time, when it is asked for.

    Attributes:
        experts: What each expert adds.
        recipe: How they are merged.
    """

    experts: tuple[Delta, ...]
    recipe: Recipe

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of each changed weight."""
        return self.experts[0].shapes

    @property
    def splits(self) -> bool:  # type: ignore[override] # a sum of parts that split
        """Whether some rows can be had alone: those of a sum can, where its parts' can."""
        return self.recipe.method in STACKED and all(expert.splits for expert in self.experts)

    def rows(self, name: str, first: int, count: int) -> Tensor:
        """Return some rows of the merge."""
        import torch

        if not self.splits:
            return super().rows(name, first, count)
        total = torch.zeros(1)
        for expert, factor in zip(self.experts, self.recipe.factors(name), strict=True):
            if factor:
                total = total + factor * expert.rows(name, first, count)
        return total

    def matrix(self, name: str) -> Tensor:
        """Merge the experts' matrices of one name."""
        import torch

        deltas = torch.empty(len(self.experts), *self.shapes[name])
        # One by one into their places: a list of them and then their stack would be twice the memory.
        for number, expert in enumerate(self.experts):
            deltas[number] = expert.matrix(name)
        weights = torch.tensor(self.recipe.weights_of(name), dtype=deltas.dtype)
        return merge_matrix(self.recipe.method, deltas, weights, self.recipe.knobs, name)


def merge(experts: Sequence[Delta], recipe: Recipe) -> Delta:
    """Return the merged delta: a low-rank one where that is exact, else one that is computed by the matrix.

    Raises:
        ConfigError: One expert only, another number of weights, experts of different bases, or a group that fits no
            weight.
    """
    if len(experts) < 2:
        raise ConfigError("one expert is no merge; give two or more")
    if len(experts) != len(recipe.weights):
        raise ConfigError(f"{len(experts)} experts and {len(recipe.weights)} weights; give one weight for each expert")
    check_same_base(experts)
    for pattern in recipe.groups:
        if not any(fnmatchcase(name, pattern) for name in experts[0].shapes):
            raise ConfigError(
                f"{pattern} fits no weight that the experts change; one is {next(iter(experts[0].shapes))}"
            )
    adapters = [expert for expert in experts if isinstance(expert, LoraDelta)]
    if recipe.method in STACKED and len(adapters) == len(experts):
        return combine(adapters, recipe.factors)
    return MergedDelta(tuple(experts), recipe)
