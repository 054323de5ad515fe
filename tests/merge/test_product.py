"""`stm-agent merge` on adapters and on full models: loads everywhere, tells mistakes, writes whole or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoModel, AutoModelForCausalLM

from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.network import network_of
from stm_agent.cli.main import build
from stm_agent.cli.merge import spread
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import ConfigError, DataError
from stm_agent.merge.delta import load_delta
from stm_agent.merge.product import merge_folders
from stm_agent.merge.recipe import Recipe
from stm_agent.testing.pico import pico_decoder

TEXTS = ["a question", "a much longer passage about nothing in particular"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return pico_decoder(tmp_path / "base")


@pytest.fixture
def adapters(base: Path, tmp_path: Path) -> list[Path]:
    folders = []
    for seed, rank in ((1, 2), (2, 4), (3, 3)):
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "down_proj"], use_rslora=seed == 2)
        model = get_peft_model(AutoModel.from_pretrained(base), config)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.1)
        model.save_pretrained(tmp_path / f"adapter{seed}")
        folders.append(tmp_path / f"adapter{seed}")
    return folders


@pytest.fixture
def models(base: Path, adapters: list[Path], tmp_path: Path) -> list[Path]:
    """Return the adapters folded into sentence-transformers folders; the first folder is the plain base."""
    folders = []
    for name, adapter in [("plain", None), *((adapter.name, adapter) for adapter in adapters)]:
        model = load_backbone(BackboneSpec(model=str(base)), packed=False)
        if adapter:
            folded = PeftModel.from_pretrained(network_of(model), str(adapter)).merge_and_unload()
            model[0].model = folded
        model.save(str(tmp_path / f"model-{name}"))
        folders.append(tmp_path / f"model-{name}")
    return folders


def recipe(method: str = "linear", weights: tuple[float, ...] = (0.5, 0.3, 0.4), **options: object) -> Recipe:
    return Recipe(method=method, weights=weights, **options)


def vectors(folder: Path) -> np.ndarray:
    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


@pytest.mark.parametrize("method", ["linear", "task-arithmetic", "slerp", "ties", "dare-ties", "breadcrumbs"])
def test_adapters_and_the_full_models_made_of_them_merge_to_the_same(
    adapters: list[Path], models: list[Path], base: Path, tmp_path: Path, method: str
) -> None:
    light = merge_folders(adapters, recipe(method), tmp_path / "light", backbone=None, base=str(base))
    merge_folders(models[1:], recipe(method), tmp_path / "full", backbone=None, base=str(models[0]))
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("light", "full"))
    plain = load_file(models[0] / "model.safetensors")
    changed = [name for name, weight in plain.items() if not torch.allclose(one[name], weight)]
    assert any("q_proj" in name for name in changed)
    # Entries of equal size may fall on either side of a cut after rounding: all but a handful are the same.
    for name in plain:
        apart = (one[name] - other[name]).abs() > 1e-5
        assert float(apart.float().mean()) < 0.005, name
    assert light["exact_adapter"] == (method in ("linear", "task-arithmetic"))
    assert np.isfinite(vectors(tmp_path / "light")).all()


def test_the_adapter_of_an_exact_merge_gives_the_models_vectors(
    adapters: list[Path], base: Path, tmp_path: Path
) -> None:
    merge_folders(adapters, recipe(), tmp_path / "out", backbone=None, base=str(base))
    model = load_backbone(BackboneSpec(model=str(base)), packed=False)
    model[0].model = PeftModel.from_pretrained(network_of(model), str(tmp_path / "out" / "adapter"))
    assert np.allclose(model.encode(TEXTS), vectors(tmp_path / "out"), atol=1e-5)


def test_weights_of_a_group_count_for_its_weights_only(adapters: list[Path], base: Path, tmp_path: Path) -> None:
    groups = {"layers.0.*": (1.0, 0.0, 0.0)}
    merge_folders(adapters, recipe(groups=groups), tmp_path / "out", backbone=None, base=str(base))
    merge_folders(adapters, recipe(weights=(1.0, 0.0, 0.0)), tmp_path / "one", backbone=None, base=str(base))
    merged, one = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "one"))
    same = {name for name in merged if torch.allclose(merged[name], one[name], atol=1e-6)}
    assert "layers.0.self_attn.q_proj.weight" in same
    assert "layers.1.self_attn.q_proj.weight" not in same


def test_shards_are_read_and_written(models: list[Path], tmp_path: Path) -> None:
    whole = merge_folders(models[1:], recipe(), tmp_path / "whole", backbone=None, base=None)
    for folder in models:
        model = SentenceTransformer(str(folder), device="cpu")
        (folder / "model.safetensors").unlink()
        network_of(model).save_pretrained(folder, max_shard_size=20_000)
    merge_folders(models[1:], recipe(), tmp_path / "shards", backbone=None, base=None)
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    assert np.allclose(vectors(tmp_path / "shards"), vectors(Path(whole["model"])), atol=1e-6)
    merge_folders(
        [tmp_path / "shards", models[1]], recipe(weights=(1.0, 0.0)), tmp_path / "again", backbone=None, base=None
    )
    assert np.allclose(vectors(tmp_path / "again"), vectors(tmp_path / "shards"), atol=1e-6)


@pytest.mark.parametrize("method", ["linear", "task-arithmetic", "ties"])
def test_full_models_merge_to_the_same_by_a_few_rows(models, tmp_path, method, monkeypatch) -> None:
    made = {}
    for chunk in (1 << 22, 200):
        monkeypatch.setattr("stm_agent.merge.rewrite.CHUNK", chunk)
        output = tmp_path / f"by-{chunk}"
        merge_folders(models[1:3], recipe(method, weights=(0.5, 0.3)), output, backbone=None, base=str(models[0]))
        made[chunk] = load_file(output / "model.safetensors")
    for name, weight in made[200].items():
        assert torch.allclose(weight, made[1 << 22][name], atol=1e-6), name


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("linear", {"scale": 0.8}),
        ("linear", {"base_weight": 0.3}),
        ("task-arithmetic", {"scale": 0.8}),
        ("ties", {"density": 0.4}),
        ("breadcrumbs", {"density": 0.4, "outliers": 0.1}),
    ],
)
def test_mergekit_makes_the_same_model_of_the_recipe(models, tmp_path, method, options) -> None:
    wanted = recipe(method, weights=(0.5, 0.3), groups={"layers.0.*": (0.1, 0.9)}, **options)
    merge_folders(models[1:3], wanted, tmp_path / "out", backbone=None, base=str(models[0]))
    text = (tmp_path / "out" / "mergekit.yaml").read_text()
    assert "not the same" not in text
    config = MergeConfiguration.model_validate(yaml.safe_load(text))
    run_merge(config, str(tmp_path / "theirs"), MergeOptions(copy_tokenizer=False))
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "theirs"))
    for name, weight in theirs.items():
        assert torch.allclose(ours[name], weight, atol=1e-5), name


def test_what_mergekit_has_no_equal_for_is_told(adapters: list[Path], base: Path, tmp_path: Path) -> None:
    groups = {"layers.*.self_attn.*": (1.0, 0.0, 0.0)}
    merge_folders(adapters, recipe("slerp", groups=groups), tmp_path / "out", backbone=None, base=str(base))
    text = (tmp_path / "out" / "mergekit.yaml").read_text()
    assert text.count("# not the same as what was merged") == 2
    named = MergeConfiguration.model_validate(yaml.safe_load(text)).referenced_models()
    assert any(str(adapters[0]) in str(model.model) + str(model.lora) for model in named)


def test_mistakes_are_told_and_nothing_is_written(
    adapters: list[Path], models: list[Path], base: Path, tmp_path: Path
) -> None:
    def told(message: str, experts: list[Path], merged: Recipe, base: str | None = str(base)) -> None:
        with pytest.raises((ConfigError, DataError), match=message):
            merge_folders(experts, merged, tmp_path / "out", backbone=None, base=base)
        assert not list(tmp_path.glob("*out*"))

    told("gone does not exist", [adapters[0], tmp_path / "gone"], recipe(weights=(1.0, 1.0)))
    told("merge one kind", [adapters[0], models[1]], recipe(weights=(1.0, 1.0)))
    told("a merge needs two or more experts", adapters[:1], recipe(weights=(1.0,)))
    told("give one weight for each", adapters[:2], recipe())
    told("name the base with --base", models[1:], recipe("ties"), base=None)
    told("has no model.safetensors", [models[1], tmp_path], recipe(weights=(1.0, 1.0)), base=None)
    told("differ in", [models[1], base], recipe(weights=(1.0, 1.0)), base=None)
    told("name the base with --base", models[1:], recipe(scale=0.5), base=None)
    named = json.loads((adapters[1] / "adapter_config.json").read_text())
    (adapters[1] / "adapter_config.json").write_text(json.dumps({**named, "base_model_name_or_path": "other"}))
    told("names the base", adapters, recipe(), base=None)
    cut = (adapters[2] / "adapter_model.safetensors").read_bytes()
    (adapters[2] / "adapter_model.safetensors").write_bytes(cut[:-50])
    told("not a complete safetensors file", adapters, recipe())
    wide = pico_decoder(tmp_path / "wide", hidden=64)
    told("other weights|another base", [base, wide], recipe(weights=(1.0, 1.0)), base=None)
    told("has as", models[1:], recipe(), base=str(wide))
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        merge_folders(adapters, recipe(), tmp_path / "there", backbone=None, base=str(base))


def test_the_command_takes_several_values_after_one_name() -> None:
    told = ["--experts", "a", "b", "--weights", "0.5", "-0.2", "--method", "ties"]
    assert spread(told) == [
        *("--experts", "a", "--experts", "b", "--weights", "0.5", "--weights", "-0.2", "--method", "ties")
    ]


def test_the_command_merges_and_tells_a_wrong_recipe(adapters: list[Path], base: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    (tmp_path / "programs").mkdir()
    place = ["--base", str(base), "--workspace", str(tmp_path)]
    common = ["merge", "--experts", *map(str, adapters), *place, "--output", str(tmp_path / "out")]
    wrong = CliRunner().invoke(build(), [*common, "--method", "ties", "--density", "1.5"])
    assert isinstance(wrong.exception, ConfigError)
    assert str(wrong.exception).startswith("density: ")
    done = CliRunner().invoke(build(), [*common, "--method", "ties", "--group", "layers.0.*=1,0,0", "--json"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "modules.json").is_file()
    (folder,) = (tmp_path / "runs" / ".stages").glob("folders-*")
    again = [*common[:-1], str(tmp_path / "again"), "--method", "ties", "--group", "layers.0.*=1,0,0"]
    weights = folder / "model" / "model.safetensors"
    built = weights.stat().st_mtime_ns
    assert CliRunner().invoke(build(), again).exit_code == 0
    assert weights.stat().st_mtime_ns == built, "the same merge is one stage"
    assert CliRunner().invoke(build(), [*common[:-1], str(tmp_path / "other")]).exit_code == 0
    assert len(list((tmp_path / "runs" / ".stages").glob("folders-*"))) == 2


def saved_with_adapter(base: Path, folder: Path, seed: int, pooling: str, query: str) -> Path:
    """Write a sentence-transformers folder that holds an adapter, as its own ``add_adapter`` and ``save`` do."""
    torch.manual_seed(seed)
    modules = [Transformer(str(base)), Pooling(32, pooling)]
    model = SentenceTransformer(modules=modules, prompts={"query": query, "passage": "P: "}, device="cpu")
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"]))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.save(str(folder))
    return folder


def test_pooling_and_prompts_saved_with_adapters_are_kept(base: Path, tmp_path: Path) -> None:
    experts = [saved_with_adapter(base, tmp_path / f"st{seed}", seed, "lasttoken", "Q: ") for seed in (1, 2)]
    merge_folders(experts, recipe(weights=(1.0, 1.0)), tmp_path / "out", backbone=None, base=str(base))
    merged = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert merged[1].get_config_dict()["pooling_mode"] == "lasttoken"
    assert (merged.prompts["query"], merged.prompts["document"]) == ("Q: ", "P: ")
    other = saved_with_adapter(base, tmp_path / "other", 3, "mean", "Q: ")
    with pytest.raises(ConfigError, match="differ in module 1_Pooling"):
        merge_folders([experts[0], other], recipe(weights=(1.0, 1.0)), tmp_path / "no", backbone=None, base=str(base))


def test_an_adapter_of_a_language_model_is_one_of_its_decoder(base: Path, tmp_path: Path) -> None:
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "embed_tokens"])
    folders = []
    for kind in (AutoModel, AutoModelForCausalLM):
        torch.manual_seed(0)
        model = get_peft_model(kind.from_pretrained(base), config)
        with pytest.warns(UserWarning, match="save_embedding_layers"):
            # So the embedding is saved beside its adapter.
            model.save_pretrained(tmp_path / kind.__name__)
        folders.append(load_delta(tmp_path / kind.__name__))
    assert folders[0].shapes == folders[1].shapes
    for name in folders[0].shapes:
        assert folders[0].matrix(name).shape == folders[1].matrix(name).shape


def test_what_a_killed_merge_left_goes_and_old_products_are_not_carried_along(models, tmp_path: Path) -> None:
    (tmp_path / ".partial-out-12345678").mkdir()
    (models[1] / "adapter").mkdir()
    (models[1] / "adapter" / "adapter_config.json").write_text("{}")
    merge_folders(models[1:3], recipe(weights=(1.0, 1.0)), tmp_path / "out", backbone=None, base=None)
    assert not list(tmp_path.glob(".partial-*"))
    assert not (tmp_path / "out" / "adapter").exists()
