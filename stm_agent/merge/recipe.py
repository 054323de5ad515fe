"""A merge as data (method, weights and options), and the delta that it makes of the experts' deltas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, model_validator

from stm_agent.domain.fields import Count, Real, Share, Spec
from stm_agent.domain.merge_spec import Method
from stm_agent.errors import ConfigError
from stm_agent.merge.delta import LoraDelta, combine
from stm_agent.merge.interface import Delta, check_same_base
from stm_agent.merge.methods import Knobs, merge_matrix

if TYPE_CHECKING:
    from torch import Tensor

Weight = Annotated[float, Field(allow_inf_nan=False)]
WeightList = Annotated[tuple[Weight, ...], Field(min_length=1)]
"""One weight for each expert."""
MEANS = ("linear", "slerp")
"""Methods whose weights are divided by their sum, the base's included."""
STACKED = ("linear", "task-arithmetic")
"""Methods that merge adapters exactly without forming a matrix."""


def _shares(density: float | tuple[float, ...]) -> float | tuple[float, ...]:
    """Return a density, or one of each expert, if all lie above 0 and are 1 at most."""
    values = density if isinstance(density, tuple) else (density,)
    if not values or not all(0 < value <= 1 for value in values):
        raise ValueError(f"{density} is not a share of entries that stay; give a value above 0, 1 at most")
    return density


class MethodOptions(Spec):
    """A merge method with its options; the weights are given separately. Hashable.

    Attributes:
        method: ``linear`` (mean, model soup), ``task-arithmetic`` (sum), ``slerp`` (mean on the sphere), ``ties``,
            ``dare-linear``, ``dare-ties``, ``breadcrumbs``, ``breadcrumbs-ties``.
        density: Share of a delta's entries that stay, in ties, dare and breadcrumbs; one for all experts, or one for
            each.
        outliers: Share of the largest entries that breadcrumbs drops.
        scale: Factor on the merged delta.
        seed: Seed of what dare drops.
    """

    method: Method = "task-arithmetic"
    density: Annotated[float | tuple[float, ...], AfterValidator(_shares)] = 0.5
    outliers: Share = 0.01
    scale: Weight = 1.0
    seed: Count = 0

    @property
    def knobs(self) -> Knobs:
        """The method's options."""
        return Knobs(density=self.density, outliers=self.outliers, scale=self.scale, seed=self.seed)

    @property
    def is_sparse(self) -> bool:
        """Whether the method leaves entries out, so that the density counts."""
        return self.method not in (*STACKED, *MEANS)

    @property
    def summary(self) -> str:
        """The method and the options that count, for example ``ties, density 0.2``; for reports and cards."""
        parts: list[str] = [self.method]
        if self.is_sparse:
            shares = self.density if isinstance(self.density, tuple) else (self.density,)
            parts.append(f"density {'/'.join(f'{share:g}' for share in shares)}")
        return ", ".join([*parts, *([f"scale {self.scale:g}"] if self.scale != 1 else [])])


SUM = MethodOptions()
"""The sum of the experts' deltas, each times its weight."""


class Recipe(MethodOptions):
    """How experts become one model.

    Attributes:
        weights: One for each expert.
        base_weight: Weight of the base model as one more expert, in means.
        groups: Pattern of weight names (``layers.0.*``) -> the weights to use for them; the first match counts.
    """

    method: Method = "linear"
    weights: WeightList
    base_weight: Real = 0.0
    groups: dict[str, WeightList] = Field(default_factory=dict)

    @classmethod
    def of(cls, weights: Sequence[float], options: MethodOptions) -> Recipe:
        """Return a method with weights, as a recipe."""
        return cls(weights=tuple(weights), **options.model_dump())

    @model_validator(mode="after")
    def _weights_make_a_merge(self) -> Recipe:
        if self.base_weight and self.method not in MEANS:
            raise ValueError(f"base_weight counts in {' and '.join(MEANS)} only, {self.method} adds to the base")
        if isinstance(self.density, tuple) and len(self.density) != len(self.weights):
            raise ValueError(f"density: {len(self.density)} values for {len(self.weights)} experts")
        for key, weights in {"weights": self.weights, **self.groups}.items():
            if len(weights) != len(self.weights):
                raise ValueError(f"{key}: {len(weights)} weights for {len(self.weights)} experts")
            if not any(weights):
                raise ValueError(f"{key}: all are 0, that is the base model; give at least one other weight")
            if self.method in MEANS and abs(sum(weights) + self.base_weight) < 1e-6:
                raise ValueError(f"{key}: they sum to 0, of which {self.method} cannot make a mean")
        return self

    def weights_of(self, name: str) -> tuple[float, ...]:
        """Return the experts' weights for one weight of the model; in means they are shares of 1."""
        return self.shares(
            next((own for pattern, own in self.groups.items() if fnmatchcase(name, pattern)), self.weights)
        )

    def shares(self, weights: WeightList) -> tuple[float, ...]:
        """Return weights as the method takes them: in means as shares of 1, of which the base has its own."""
        total = sum(weights) + self.base_weight if self.method in MEANS else 1.0
        return tuple(weight / total for weight in weights)

    def factors(self, name: str) -> list[float]:
        """Return the factor on each expert's delta of one weight, for methods that sum them."""
        return [self.scale * weight for weight in self.weights_of(name)]


@dataclass(frozen=True)
class MergedDelta(Delta):
    """A merge that is computed one matrix at a time.

    Attributes:
        experts: What each expert adds to the base.
        recipe: How they are merged.
    """

    experts: tuple[Delta, ...]
    recipe: Recipe

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of each changed weight."""
        return self.experts[0].shapes

    @property
    def splits(self) -> bool:
        """Rows of a sum can be computed alone if those of all its terms can."""
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
        # Copied one by one: stacking a list of them would need twice the memory.
        for number, expert in enumerate(self.experts):
            deltas[number] = expert.matrix(name)
        weights = torch.tensor(self.recipe.weights_of(name), dtype=deltas.dtype)
        return merge_matrix(self.recipe.method, deltas, weights, self.recipe.knobs, name)


def merge(experts: Sequence[Delta], recipe: Recipe) -> Delta:
    """Return the merged delta: a low-rank one if that is exact, else one that is computed matrix by matrix.

    Raises:
        ConfigError: There is one expert only for another method than the sum, another number of weights than experts,
            experts of different bases, or a group that matches no weight.
    """
    if len(experts) < 2 and recipe.method != "task-arithmetic":
        raise ConfigError("a merge needs two or more experts; give another one")
    if len(experts) != len(recipe.weights):
        raise ConfigError(f"{len(experts)} experts and {len(recipe.weights)} weights; give one weight for each expert")
    check_same_base(experts)
    for pattern in recipe.groups:
        if not any(fnmatchcase(name, pattern) for name in experts[0].shapes):
            raise ConfigError(
                f"{pattern} matches no weight that the experts change; one is {next(iter(experts[0].shapes))}"
            )
    adapters = [expert for expert in experts if isinstance(expert, LoraDelta)]
    if recipe.method in STACKED and len(adapters) == len(experts):
        return combine(adapters, recipe.factors)
    return MergedDelta(tuple(experts), recipe)
