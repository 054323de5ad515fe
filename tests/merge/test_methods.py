"""Every merge method beside mergekit and, where it has the method, peft; deliberate differences are shown as such."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mergekit.merge_methods import get as method_of
from mergekit.merge_methods import merge_state_dicts
from mergekit.merge_methods.karcher import karcher_merge_tensors
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModel

from stm_agent.domain.merge_spec import METHODS
from stm_agent.errors import ConfigError
from stm_agent.merge import methods
from stm_agent.merge.delta import LoraDelta, fold, load_delta
from stm_agent.merge.methods import Knobs, bounds, drop, merge_matrix, trim
from stm_agent.merge.recipe import Recipe, merge
from stm_agent.testing.pico import pico_decoder

SHAPES = {"a": (24, 16), "b": (7, 30), "c": (50,)}
WEIGHTS = [0.7, 0.4, 0.9]
DENSITY = 0.3


@pytest.fixture
def models() -> list[dict[str, Tensor]]:
    """Return a base and three experts."""
    draws = torch.Generator().manual_seed(3)
    base = {name: torch.randn(shape, generator=draws) for name, shape in SHAPES.items()}
    experts = [
        {name: weight + 0.1 * torch.randn(weight.shape, generator=draws) for name, weight in base.items()}
        for _ in WEIGHTS
    ]
    return [base, *experts]


def mergekits(models: list[dict[str, Tensor]], method: str, **parameters: object) -> dict[str, Tensor]:
    return merge_state_dicts(dict(enumerate(models)), method_of(method), base=0, parameters=parameters)


def ours(models: list[dict[str, Tensor]], method: str, weights: list[float], **knobs: float) -> dict[str, Tensor]:
    base, *experts = models
    return {
        name: weight
        + merge_matrix(
            method, torch.stack([e[name] - weight for e in experts]), torch.tensor(weights), Knobs(**knobs), name
        )
        for name, weight in base.items()
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name, weight in other.items():
        assert torch.allclose(one[name], weight, atol=1e-5), name


@pytest.mark.parametrize(
    ("method", "theirs", "parameters"),
    [
        ("task-arithmetic", "task_arithmetic", {}),
        ("ties", "ties", {"density": DENSITY}),
        ("breadcrumbs", "breadcrumbs", {"density": DENSITY, "gamma": 0.1, "rescale": False}),
        ("breadcrumbs-ties", "breadcrumbs_ties", {"density": DENSITY, "gamma": 0.1, "rescale": False}),
    ],
)
def test_equals_mergekit(models: list[dict[str, Tensor]], method: str, theirs: str, parameters: dict) -> None:
    # breadcrumbs: mergekit rescales to the norm before trimming unless told not to; the paper does not.
    normalise = method.endswith("ties")
    expected = mergekits(models, theirs, weight=WEIGHTS, normalize=normalise, **{"lambda": 0.8}, **parameters)
    same(ours(models, method, WEIGHTS, density=DENSITY, outliers=0.1, scale=0.8), expected)


def test_linear_equals_mergekit_with_the_base_as_an_expert(models: list[dict[str, Tensor]]) -> None:
    expected = merge_state_dicts(dict(enumerate(models)), method_of("linear"), parameters={"weight": [0.5, *WEIGHTS]})
    recipe = Recipe(method="linear", weights=tuple(WEIGHTS), base_weight=0.5)
    same(ours(models, "linear", list(recipe.weights_of("a"))), expected)


@pytest.mark.parametrize(("method", "theirs"), [("dare-linear", "dare_linear"), ("dare-ties", "dare_ties")])
def test_dare_equals_mergekit_where_the_same_entries_fall(
    models: list[dict[str, Tensor]], method: str, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours divides by the density as the paper does; mergekit rescales to the norm before, so its rescaling is off."""
    base, *experts = models
    fallen = [
        drop(torch.stack([e[name] - base[name] for e in experts]), DENSITY, methods._draws(5, name)) != 0
        for name in sorted(SHAPES)
    ]
    masks = iter([mask.float() for name_masks in fallen for mask in name_masks])
    monkeypatch.setattr(torch, "bernoulli", lambda _probabilities: next(masks))
    expected = mergekits(
        models, theirs, weight=WEIGHTS, density=DENSITY, rescale=False, normalize=method.endswith("ties")
    )
    # Their deltas are not divided by the density: undone on ours by the scale.
    same(ours(models, method, WEIGHTS, density=DENSITY, seed=5, scale=DENSITY), expected)


def test_dare_keeps_the_mean_and_is_seeded_by_the_weights_name() -> None:
    delta = torch.ones(1, 400, 400)
    dropped = merge_matrix("dare-linear", delta, torch.ones(1), Knobs(density=0.25, seed=1), "x")
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    assert set(dropped.unique().tolist()) == {0.0, 4.0}
    again = merge_matrix("dare-linear", delta, torch.ones(1), Knobs(density=0.25, seed=1), "x")
    other = merge_matrix("dare-linear", delta, torch.ones(1), Knobs(density=0.25, seed=1), "y")
    assert torch.equal(dropped, again)
    assert not torch.equal(dropped, other)


def test_slerp_of_two_equals_mergekit_where_lengths_are_equal(models: list[dict[str, Tensor]]) -> None:
    """Mergekit turns the unscaled vectors, so its length depends on the angle; ours is the mean of the lengths."""
    base, one, two, _ = models
    two = {
        name: base[name] + (two[name] - base[name]) * (one[name] - base[name]).norm() / (two[name] - base[name]).norm()
        for name in base
    }
    expected = mergekits([base, one, two], "nuslerp", weight=[0.7, 0.3])
    same(ours([base, one, two], "slerp", [0.7, 0.3]), expected)


def test_slerp_of_three_equals_mergekits_karcher_mean(models: list[dict[str, Tensor]]) -> None:
    base, *experts = models
    shares = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    merged = ours(models, "slerp", shares)
    for name, weight in base.items():
        deltas = [expert[name] - weight for expert in experts]
        expected = karcher_merge_tensors(deltas, shares, max_iter=100, tol=1e-7)
        assert torch.allclose(merged[name] - weight, expected, atol=1e-5)


def test_trim_keeps_what_the_density_says_of_equal_sizes_too() -> None:
    row = torch.tensor([[3.0, -1.0, 2.0, -4.0, 0.5]])
    kept = trim(row, *bounds(row, 0.4))
    assert kept.tolist() == [[3.0, 0.0, 0.0, -4.0, 0.0]]
    kept = trim(row, *bounds(row, 0.4, 0.2))
    assert kept.tolist() == [[3.0, 0.0, 2.0, 0.0, 0.0]]
    whole = torch.randn(2, 6)
    assert torch.equal(trim(whole, *bounds(whole, 1.0)), whole)
    assert int((trim(whole, *bounds(whole, 0.02)) != 0).sum()) == 2, "one entry of each at least"


@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_in_parts_merges_to_the_same(models, method, monkeypatch):
    """dare draws part by part, the same entries for the same parts."""
    whole = ours(models, method, WEIGHTS, density=1.0 if method.startswith("dare") else DENSITY)
    monkeypatch.setattr(methods, "PART", 7)
    same(ours(models, method, WEIGHTS, density=1.0 if method.startswith("dare") else DENSITY), whole)


@pytest.mark.parametrize("method", METHODS)
def test_a_single_number_is_merged_too(method):
    merged = merge_matrix(method, torch.tensor([2.0, 4.0]), torch.tensor([0.5, 0.5]), Knobs(density=1.0))
    assert merged.shape == () and float(merged) == pytest.approx(3.0)


def test_the_base_shortens_a_mean_on_the_sphere(models):
    recipe = Recipe(method="slerp", weights=(0.7, 0.3), base_weight=1.0)
    base, one, two, _ = models
    alone = ours([base, one, two], "slerp", [0.7, 0.3])
    halved = ours([base, one, two], "slerp", list(recipe.weights_of("a")))
    same(halved, {name: (base[name] + alone[name]) / 2 for name in base})
    with pytest.raises(ValueError, match="base_weight counts in linear and slerp only"):
        Recipe(method="ties", weights=(0.7, 0.3), base_weight=1.0)


def test_a_part_that_fits_nothing_is_refused():
    ones = LoraDelta({"layers.0.q": (torch.ones(1, 2), torch.ones(2, 1))})
    recipe = Recipe(method="linear", weights=(1.0, 1.0), groups={"layer.0.*": (1.0, 0.0)})
    with pytest.raises(ConfigError, match=r"layer\.0\.\* matches no weight"):
        merge([ones, ones], recipe)


def test_ties_equals_pefts_on_the_same_deltas(tmp_path: Path) -> None:
    """peft divides by how many experts agree, ours and mergekit by their weights: the same where all are 1."""
    base = pico_decoder(tmp_path / "base")
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = get_peft_model(
            AutoModel.from_pretrained(base), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"])
        )
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.2)
        model.save_pretrained(tmp_path / f"e{seed}")
        folders.append(tmp_path / f"e{seed}")
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(folders[0]), adapter_name="a")
    model.load_adapter(str(folders[1]), adapter_name="b")
    model.add_weighted_adapter(
        ["a", "b"], [1.0, 1.0], "both", combination_type="ties_svd", density=DENSITY, svd_rank=32
    )
    model.set_adapter("both")
    expected = model.merge_and_unload().state_dict()
    merged = AutoModel.from_pretrained(base)
    recipe = Recipe(method="ties", weights=(1.0, 1.0), density=DENSITY)
    fold(merged, merge([load_delta(folder) for folder in folders], recipe))
    for name, value in expected.items():
        assert torch.allclose(merged.state_dict()[name], value, atol=1e-5), name


@pytest.mark.parametrize("method", METHODS)
def test_equal_experts_merge_to_themselves(method: str) -> None:
    delta = torch.randn(9, 11)
    weights = torch.tensor([0.5, 0.5])
    merged = merge_matrix(method, torch.stack([delta, delta]), weights, Knobs(density=1.0), "x")
    assert torch.allclose(merged, delta, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"weights": (0.0, 0.0)}, "all are 0"),
        ({"weights": (1.0, -1.0)}, "sum to 0"),
        ({"weights": (1.0, float("nan"))}, "finite"),
        ({"weights": (1.0, 1.0), "density": 1.5}, "density"),
        ({"weights": (1.0, 1.0), "density": 0.0}, "density"),
        ({"weights": (1.0, 1.0), "groups": {"layers.0.*": (1.0,)}}, "1 weights for 2 experts"),
        ({"weights": (1.0, 1.0), "method": "soup"}, "method"),
    ],
)
def test_a_recipe_that_makes_no_merge_is_refused(wrong: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Recipe(**wrong)


def test_groups_have_weights_of_their_own() -> None:
    recipe = Recipe(weights=(1.0, 3.0), groups={"layers.[01].*": (1.0, 0.0)})
    assert recipe.weights_of("layers.0.q.weight") == (1.0, 0.0)
    assert recipe.weights_of("layers.2.q.weight") == (0.25, 0.75)


def test_one_expert_is_no_merge(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a merge needs two or more experts"):
        merge([None], Recipe(weights=(1.0,)))  # type: ignore[list-item]
