"""TIES, DARE, SLERP and the like in a run: searched by real encodes, carried as a value, exported and picked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mergekit.merge_methods import get as method_of
from mergekit.merge_methods import merge_state_dicts
from peft import LoraConfig, PeftModel, get_peft_model
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.network import network_of
from stm_agent.domain.collection import Split
from stm_agent.domain.merge_spec import METHODS, MergeSpec
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import ConfigError
from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.files import read_json
from stm_agent.inspect.front import _method_of
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.export_job import ExportJob
from stm_agent.merge.job import MergeJob, read_merge
from stm_agent.merge.method_search import choose, starts_of, try_method
from stm_agent.merge.product import merge_folders
from stm_agent.merge.recipe import SUM, MethodOptions, Recipe
from stm_agent.merge.verifying import Verified
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_collection


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> tuple[BackboneSpec, tuple[Path, ...]]:
    """Return a backbone and three random adapters."""
    folder = tmp_path_factory.mktemp("experts")
    base = pico_decoder(folder / "base")
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"])
        model = get_peft_model(AutoModel.from_pretrained(base), config)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.2)
        model.save_pretrained(folder / f"e{seed}")
    return BackboneSpec(model=str(base), max_length=32), tuple(folder / f"e{seed}" for seed in (1, 2, 3))


OPTIONS = {
    "task-arithmetic": ({}, {"normalize": False}),
    "ties": ({"density": (0.3, 0.5, 0.9), "scale": 0.8}, {"density": [0.3, 0.5, 0.9], "lambda": 0.8}),
    "breadcrumbs": ({"density": 0.5, "outliers": 0.1}, {"density": 0.5, "gamma": 0.1, "normalize": False}),
}


@pytest.mark.parametrize("method", OPTIONS)
def test_an_opened_merge_has_mergekits_weights_of_pefts_models(experts: Any, method: str) -> None:
    spec, adapters = experts
    base = AutoModel.from_pretrained(spec.model).state_dict()
    whole = [
        PeftModel.from_pretrained(AutoModel.from_pretrained(spec.model), str(adapter)).merge_and_unload().state_dict()
        for adapter in adapters
    ]
    own, theirs = OPTIONS[method]
    weights = (0.5, 0.3, 0.4)
    expected = merge_state_dicts(
        dict(enumerate([base, *whole])),
        method_of(method.replace("-", "_")),
        base=0,
        parameters={"weight": list(weights), "rescale": False, **theirs},
    )
    opened = AdaptedModel(spec, adapters, weights, MethodOptions(method=method, **own)).open()
    merged = network_of(opened.model).state_dict()
    for name, weight in expected.items():
        # An entry as large as the cut may fall on either side of it after rounding.
        assert float(((merged[name] - weight).abs() > 1e-5).float().mean()) < 0.005, name


def test_what_decides_a_merge_is_in_its_key(experts: Any) -> None:
    spec, adapters = experts
    plain = AdaptedModel(spec, adapters, (0.5, 0.5, 0.0))
    ties = replace(plain, method=MethodOptions(method="ties"))
    thinner = replace(plain, method=MethodOptions(method="ties", density=0.2))
    keys = [str(model.source_key()) for model in (plain, ties, thinner)]
    assert len(set(keys)) == 3
    assert keys[0] == str(replace(plain, method=SUM).source_key())
    assert len({plain, ties, thinner}) == 3, "a merge is a value"


@pytest.mark.parametrize("method", METHODS)
def test_an_export_a_pick_and_the_opened_merge_give_the_same_vectors(experts: Any, method: str, tmp_path: Path) -> None:
    spec, adapters = experts
    options = MethodOptions(method=method, density=0.6, scale=0.9, seed=4)
    model = AdaptedModel(spec, adapters, (0.5, 0.0, 0.3), options)
    (tmp_path / "export").mkdir()
    ExportJob(model=model, prompts={"query": "", "document": ""}, card="# a card").build(tmp_path / "export")
    exported = tmp_path / "export" / "model"
    recipe = read_json(exported / "recipe.json")
    assert (recipe["method"], recipe["scale"], recipe["seed"]) == (method, 0.9, 4)
    assert (exported / "adapter").exists() == (method in ("linear", "task-arithmetic"))
    point = {"weights": [0.5, 0.0, 0.3], "method": options.model_dump(mode="json")}
    merge_folders(
        list(adapters), Recipe.of(point["weights"], _method_of(point)), tmp_path / "out", backbone=spec, base=None
    )
    texts = ["a question", "a longer passage about nothing"]
    expected = model.open().model.encode(texts)
    for folder in (exported, tmp_path / "out"):
        assert np.allclose(SentenceTransformer(str(folder), device="cpu").encode(texts), expected, atol=1e-5)


def job(experts: Any, tmp_path: Path, **spec: Any) -> MergeJob:
    backbone, adapters = experts
    collection = tiny_collection()
    dev = ScoredTask("dev", collection.texts, collection.splits["dev"])
    return MergeJob(
        backbone=backbone,
        adapters=adapters,
        instruction=Instruction(),
        dev=dev,
        searched=tuple(dev.split.queries)[::2],
        guards=(),
        spec=MergeSpec(**{"candidates": 20, "verify": 2, **spec}),
        floor=0.0,
        seed=0,
        cache=tmp_path / "cache",
    )


def test_a_run_builds_the_methods_that_its_file_names(experts: Any, tmp_path: Path) -> None:
    (tmp_path / "merge").mkdir()
    merging = job(experts, tmp_path, methods=("linear", "ties", "slerp"))
    merging.build(tmp_path / "merge")
    result = read_merge(tmp_path / "merge")
    methods = [row["method"]["method"] for row in result.verified]
    # Three experts alone and two sums, unless the surrogate turned out to be wrong.
    assert methods.count("task-arithmetic") >= 5
    assert (methods.count("ties"), methods.count("slerp")) == (2, 2)
    assert [row["method"]["density"] for row in result.verified if row["method"]["method"] == "ties"] == [0.2, 0.5]
    assert len(result.weights) == 3
    assert set(result.rating.domain.per_query) == set(merging.dev.split.queries)
    best = max(row["dev"] for row in result.verified)
    assert result.front[0]["dev"] >= best


def test_dev_may_hold_the_searched_queries_alone(experts: Any, tmp_path: Path) -> None:
    whole = job(experts, tmp_path, methods=("linear", "ties"))
    split = whole.dev.split
    part = Split("dev", {q: split.queries[q] for q in whole.searched}, {q: split.qrels[q] for q in whole.searched})
    half = replace(whole, dev=ScoredTask("dev", whole.dev.documents, part))
    results = []
    for number, merging in enumerate((whole, half)):
        (tmp_path / str(number)).mkdir()
        merging.build(tmp_path / str(number))
        results.append(read_merge(tmp_path / str(number)))
    assert (results[0].weights, results[0].method) == (results[1].weights, results[1].method)
    assert results[0].verified == results[1].verified
    assert set(results[1].rating.domain.per_query) == set(whole.searched)


def test_a_single_expert_is_searched_between_itself_and_the_start(experts: Any, tmp_path: Path) -> None:
    backbone, adapters = experts
    (tmp_path / "merge").mkdir()
    job((backbone, adapters[:1]), tmp_path, methods=("linear", "ties")).build(tmp_path / "merge")
    result = read_merge(tmp_path / "merge")
    assert {row["method"]["method"] for row in result.verified} == {"task-arithmetic"}
    assert any(0 < row["weights"][0] < 1 for row in result.verified)
    point = next(point for point in result.front if point["weights"] != [1.0])
    recipe = Recipe.of(point["weights"], _method_of(point))
    merge_folders([adapters[0]], recipe, tmp_path / "picked", backbone=backbone, base=None)


class Rated:
    def __init__(self, mean: float, general: float = 0.5, spread: float = 0.0) -> None:
        per_query = {str(number): mean + spread * (-1) ** number for number in range(40)}
        self.domain, self.general = Scores(mean, 0.0, 0.0, per_query), general


def climb(verify: int, **fields: Any) -> dict[Any, Rated]:
    """Try TIES on scores with one hill: density 0.3, scale 0.75, weights (0.7, 0.3)."""

    def rate(weights: tuple[float, ...], options: MethodOptions) -> Rated:
        density = np.mean(options.density)
        return Rated(1 - abs(weights[0] - 0.7) - abs(float(density) - 0.3) - abs(options.scale - 0.75))

    starts = [(0.5, 0.5), (0.4, 0.1)]
    return try_method("ties", starts, rate, spec=MergeSpec(verify=verify, **fields), floor=0.0, seed=0)


def test_seeds_come_first_and_the_rest_of_the_budget_climbs() -> None:
    seeds = climb(3)
    assert [(weights, options.density) for weights, options in seeds] == [((0.5, 0.5), d) for d in (0.2, 0.5, 0.9)]
    best = [max(rated.domain.ndcg_at_10 for rated in climb(count).values()) for count in (3, 6, 12, 30)]
    assert best == sorted(best)
    assert best[0] < best[1] < best[-1]
    assert best[-1] > 0.9
    tried = climb(30)
    assert len(tried) == 30
    assert list(tried) == list(climb(30))
    assert any(isinstance(options.density, tuple) for _, options in tried), "densities of each expert's own, as STM's"


def test_a_merge_that_forgets_is_not_built_upon() -> None:
    def rate(_weights: tuple[float, ...], options: MethodOptions) -> Rated:
        return Rated(options.density, general=1 - options.density)

    tried = try_method("ties", [(0.5, 0.5)], rate, spec=MergeSpec(verify=4, scales=()), floor=0.6, seed=0)
    assert [options.density for _, options in tried] == [0.2, 0.5, 0.9, 0.14]


def test_slerp_begins_with_all_the_best_two_and_the_best_sum() -> None:
    starts = starts_of([(0.0, 1.0, 0.0), (0.6, 0.4, 0.2), (0.3, 0.3, 0.3)], [1, 0, 2])
    tried = try_method("slerp", starts, lambda *_: Rated(0.5), spec=MergeSpec(verify=3), floor=0.0, seed=0)
    assert [weights for weights, _ in tried] == [(0.3333,) * 3, (0.5, 0.5, 0.0), (0.5, 0.3333, 0.1667)]


TIES = ((0.5, 0.5), MethodOptions(method="ties"))


def chosen(sum_: Rated, ties: Rated, *, allowed: bool = True) -> str:
    best = Verified(weights=(1.0, 0.0), rating=sum_, agreement=None, allowed=allowed)  # type: ignore[arg-type]
    return choose(best, {TIES: ties}, 0.4).method.method


def test_another_method_replaces_the_best_sum_only_beyond_doubt() -> None:
    assert chosen(Rated(0.5), Rated(0.6)) == "ties"
    assert chosen(Rated(0.5, spread=0.3), Rated(0.51, spread=-0.3)) == "task-arithmetic"
    assert chosen(Rated(0.5), Rated(0.6, general=0.3)) == "task-arithmetic"
    assert chosen(Rated(0.5, general=0.3), Rated(0.4), allowed=False) == "ties"
    assert chosen(Rated(0.5, general=0.3), Rated(0.6, general=0.2), allowed=False) == "task-arithmetic"


def test_a_domain_file_names_methods_in_either_spelling() -> None:
    assert MergeSpec().methods == ("linear",)
    assert MergeSpec.model_validate({"method": "dare_ties"}).methods == ("dare-ties",)
    assert MergeSpec.model_validate({"methods": ["linear", "task_arithmetic"]}).methods == ("linear", "task-arithmetic")
    assert MergeSpec.model_validate(MergeSpec(methods=("ties",)).model_dump(mode="json")).methods == ("ties",)
    with pytest.raises(ValueError, match="both method and methods"):
        MergeSpec.model_validate({"method": "ties", "methods": ["ties"]})
    with pytest.raises(ValueError, match="linear"):
        MergeSpec.model_validate({"method": "soup"})


def test_a_wrong_method_in_a_file_is_one_line(tmp_path: Path) -> None:
    from stm_agent.domain.load import load_domain, new_domain

    file = new_domain(tmp_path / "my.yaml", None)
    file.write_text(file.read_text().replace("  methods: [linear, task-arithmetic]\n", "  method: soup\n"))
    with pytest.raises(ConfigError, match=r"my\.yaml:\d+: .*soup.* linear"):
        load_domain(str(file), tmp_path)
