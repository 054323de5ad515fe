"""Merging is exact: against dense sums, against peft, and through a saved folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel

from stm_agent.errors import ConfigError, DataError
from stm_agent.evaluate.metrics import Scores
from stm_agent.merge.delta import combine, fold, load_delta, save_delta
from stm_agent.merge.search import Candidate, search
from stm_agent.merge.strategies import corners, is_uniform, soups
from stm_agent.merge.surrogate import Task
from stm_agent.merge.verifying import verify
from stm_agent.testing.pico import pico_decoder


def adapter(base: Path, folder: Path, *, rank: int, alpha: int, seed: int, targets: list[str] | None = None) -> Path:
    """Write a random adapter whose B is not zero."""
    torch.manual_seed(seed)
    names = targets or ["q_proj", "down_proj", "embed_tokens"]
    model = get_peft_model(AutoModel.from_pretrained(base), LoraConfig(r=rank, lora_alpha=alpha, target_modules=names))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return pico_decoder(tmp_path / "base")


@pytest.fixture
def two(base: Path, tmp_path: Path) -> list[Path]:
    return [
        adapter(base, tmp_path / "a", rank=4, alpha=8, seed=1),
        adapter(base, tmp_path / "b", rank=2, alpha=16, seed=2),
    ]


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_one_adapter_folds_to_what_peft_merges(base: Path, two: list[Path]) -> None:
    theirs = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(two[0])).merge_and_unload()
    ours = AutoModel.from_pretrained(base)
    fold(ours, load_delta(two[0]))
    for name, value in weights(theirs).items():
        assert torch.allclose(ours.state_dict()[name], value, atol=1e-6), name


def test_two_adapters_of_other_rank_and_alpha_combine_exactly(base: Path, two: list[Path]) -> None:
    plain = weights(AutoModel.from_pretrained(base))
    alone = []
    for folder in two:
        model = AutoModel.from_pretrained(base)
        fold(model, load_delta(folder))
        alone.append(weights(model))
    merged = AutoModel.from_pretrained(base)
    fold(merged, combine([load_delta(folder) for folder in two], [0.7, 0.4]))
    for name, value in plain.items():
        wanted = value + 0.7 * (alone[0][name] - value) + 0.4 * (alone[1][name] - value)
        assert torch.allclose(merged.state_dict()[name], wanted, atol=1e-5), name


def test_equals_pefts_concatenation(base: Path, tmp_path: Path) -> None:
    folders = [
        adapter(base, tmp_path / f"p{n}", rank=4, alpha=8, seed=n, targets=["q_proj", "up_proj"]) for n in (1, 2)
    ]
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(folders[0]), adapter_name="a")
    model.load_adapter(str(folders[1]), adapter_name="b")
    model.add_weighted_adapter(["a", "b"], [0.3, 0.9], "both", combination_type="cat")
    model.set_adapter("both")
    theirs = weights(model.merge_and_unload())
    ours = AutoModel.from_pretrained(base)
    fold(ours, combine([load_delta(folder) for folder in folders], [0.3, 0.9]))
    for name, value in theirs.items():
        assert torch.allclose(ours.state_dict()[name], value, atol=1e-5), name


def test_saved_delta_loads_in_peft(base: Path, two: list[Path], tmp_path: Path) -> None:
    delta = combine([load_delta(folder) for folder in two], [1.0, 0.5])
    save_delta(delta, tmp_path / "out", base=str(base))
    theirs = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(tmp_path / "out")).merge_and_unload()
    ours = AutoModel.from_pretrained(base)
    fold(ours, delta)
    for name, value in weights(theirs).items():
        assert torch.allclose(ours.state_dict()[name], value, atol=1e-5), name


def tuned(base: Path, folder: Path, init: str | bool) -> PeftModel:
    """Return a model with an adapter of an initialisation of peft, changed as by training."""
    torch.manual_seed(5)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=init)
    model = get_peft_model(AutoModel.from_pretrained(base), config)
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(folder / "start")
    model.peft_config["default"].init_lora_weights = init
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(torch.randn_like(weight) * 0.05)
    return model


# peft warns before it converts.
@pytest.mark.filterwarnings("ignore:.*changes the base weights")
@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_whose_base_was_changed_is_refused_and_merges_exactly_once_converted(
    base: Path, tmp_path: Path, init: str
) -> None:
    model = tuned(base, tmp_path, init)
    model.save_pretrained(tmp_path / "as-trained")
    with pytest.raises(ConfigError, match=f"initialised by {init}, which changes its base"):
        load_delta(tmp_path / "as-trained")
    model.save_pretrained(tmp_path / "converted", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    ours = AutoModel.from_pretrained(base)
    fold(ours, load_delta(tmp_path / "converted"))
    for name, value in weights(model.merge_and_unload()).items():
        assert torch.allclose(ours.state_dict()[name], value, atol=1e-4), name


@pytest.mark.parametrize("init", ["gaussian", "orthogonal", False])
def test_an_initialisation_that_leaves_the_base_alone_is_merged(base: Path, tmp_path: Path, init: str | bool) -> None:
    model = tuned(base, tmp_path, init)
    model.save_pretrained(tmp_path / "as-trained")
    ours = AutoModel.from_pretrained(base)
    fold(ours, load_delta(tmp_path / "as-trained"))
    for name, value in weights(model.merge_and_unload()).items():
        assert torch.allclose(ours.state_dict()[name], value, atol=1e-5), name


def test_bad_input_is_named(base: Path, two: list[Path], tmp_path: Path) -> None:
    deltas = [load_delta(folder) for folder in two]
    with pytest.raises(ConfigError, match="one weight for each"):
        combine(deltas, [1.0])
    with pytest.raises(ConfigError, match="all merge weights are 0"):
        combine(deltas, [0.0, 0.0])
    with pytest.raises(ConfigError, match="not a LoRA adapter"):
        load_delta(tmp_path)
    other = adapter(pico_decoder(tmp_path / "wide", hidden=64), tmp_path / "c", rank=2, alpha=2, seed=3)
    with pytest.raises(ConfigError, match="another base"):
        combine([deltas[0], load_delta(other)], [1.0, 1.0])
    with pytest.raises(ConfigError, match="use its own base"):
        fold(AutoModel.from_pretrained(base), load_delta(other))
    from safetensors.torch import load_file, save_file

    path = two[0] / "adapter_model.safetensors"
    broken = load_file(path)
    next(iter(broken.values()))[0] = float("nan")
    save_file(broken, path)
    with pytest.raises(DataError, match="NaN"):
        load_delta(two[0])


def _task() -> Task:
    draw = np.random.default_rng(0)
    queries, documents = draw.normal(size=(3, 20, 8)).astype("f"), draw.normal(size=(3, 50, 8)).astype("f")
    # Expert 2 knows: its query is its document.
    queries[2] = documents[2, :20]
    names = [f"d{n}" for n in range(50)]
    qrels = {f"q{n}": {f"d{n}": 1} for n in range(20)}
    return Task([f"q{n}" for n in range(20)], names, qrels, queries, documents)


def test_surrogate_finds_the_expert_that_knows() -> None:
    best = search(_task(), [], step=0.25, seed=0)[0]
    assert best.domain > 0.9
    assert best.weights[1] > best.weights[0]


def test_search_asks_about_every_expert_alone_and_is_seeded() -> None:
    found = search(_task(), [], step=0.5, seed=0, budget=20)
    assert {candidate.weights for candidate in found} >= set(corners(2))
    assert found == search(_task(), [], step=0.5, seed=0, budget=20)


class Real:
    def __init__(self, domain: float, general: float) -> None:
        self.domain, self.general = Scores(domain, 0.0, 0.0, {"q": domain}), general


def test_a_merge_that_forgets_is_refused() -> None:
    candidates = [Candidate((0.9, 0.5), 0.9, 0.1), Candidate((1.0, 0.0), 0.7, 0.5), Candidate((0.0, 1.0), 0.6, 0.5)]
    real = {(0.9, 0.5): Real(0.9, 0.1), (1.0, 0.0): Real(0.7, 0.5), (0.0, 1.0): Real(0.6, 0.5)}
    assert verify(candidates, real.__getitem__, floor=0.4, count=3).weights == (1.0, 0.0)
    assert verify(candidates, real.__getitem__, floor=0.0, count=3).weights == (0.9, 0.5)
    assert verify(candidates, real.__getitem__, floor=0.4, count=3).allowed
    least = verify(candidates, real.__getitem__, floor=0.6, count=3)
    assert (least.weights, least.allowed) == ((1.0, 0.0), False)


def test_every_soup_of_the_experts_is_tried() -> None:
    points = soups(5)
    assert (0.0, 0.5, 0.5, 0.0, 0.0) in points
    assert (0.3333, 0.0, 0.3333, 0.3333, 0.0) in points
    assert (0.2,) * 5 in points
    assert sum(sum(weight > 0 for weight in point) == 2 and max(point) == 0.5 for point in points) == 10


def test_more_experts_never_mean_fewer_soups() -> None:
    counts = [len(soups(experts)) for experts in range(1, 20)]
    assert counts == sorted(counts)
    assert counts[-1] < 1000


def test_with_many_experts_the_best_of_them_are_combined() -> None:
    ranking = [9, *range(9), *range(10, 12)]
    points = soups(12, ranking)
    assert len(points) == len(set(points))
    assert tuple(0.3333 if number in (9, 3, 6) else 0.0 for number in range(12)) in points, "a subset of the best"
    assert tuple(0.5 if number in (10, 11) else 0.0 for number in range(12)) in points, "every pair"
    assert len(soups(100)) < 1000
    assert tuple(0.0909 if number != 9 else 0.0 for number in range(12)) in points, "all but one"
    assert tuple(0.1 if number < 10 else 0.0 for number in range(12)) in points, "the best ten"


def test_soups_of_many_experts_count_as_uniform() -> None:
    assert all(is_uniform(point) for point in [*soups(40), *corners(40)])
    assert not is_uniform((0.6, 0.4))
    assert not is_uniform((0.5, 0.6))
    assert not is_uniform((0.0, 0.0))


@pytest.mark.parametrize(("lead", "winner"), [(0.05, (0.9, 0.5)), (0.0, (0.5, 0.5))])
def test_fitted_weights_replace_a_soup_only_beyond_doubt(lead: float, winner: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    soup = dict(enumerate(rng.uniform(0.4, 0.6, 200)))
    noise = rng.normal(0.0, 0.05, 200)
    fitted = {query: value + lead + noise[query] - noise.mean() + 0.001 for query, value in soup.items()}
    real = {
        (1.0, 0.0): Real(0.3, 0.5),
        (0.0, 1.0): Real(0.3, 0.5),
        (0.5, 0.5): Real(0.5, 0.5),
        (0.9, 0.5): Real(0.6, 0.5),
    }
    for weights, scores in (((0.5, 0.5), soup), ((0.9, 0.5), fitted)):
        per_query = {str(query): value for query, value in scores.items()}
        real[weights].domain = Scores(sum(per_query.values()) / 200, 0.0, 0.0, per_query)
    for weights in ((1.0, 0.0), (0.0, 1.0)):
        real[weights].domain = Scores(0.3, 0.0, 0.0, {str(query): 0.3 for query in soup})
    candidates = [Candidate(weights, rated.domain.ndcg_at_10, 0.5) for weights, rated in real.items()]
    assert real[(0.9, 0.5)].domain.ndcg_at_10 > real[(0.5, 0.5)].domain.ndcg_at_10
    assert verify(candidates, real.__getitem__, floor=0.4, count=2).weights == winner
