"""What a preset takes is printed before anything is loaded: GPU hours, disk and dollars, by told rates."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stm_agent.domain.preset import load_preset, presets
from stm_agent.errors import ConfigError
from stm_agent.loop.options import Options
from stm_agent.loop.preset_plan import GpuRates, plan_preset, task_sizes
from stm_agent.loop.presets import with_preset
from stm_agent.testing.tiny import tiny_beir

USUAL = GpuRates()


def planned(workspace: Path, name: str, rates: GpuRates = USUAL, **flags: Any) -> dict[str, str]:
    """Return stage -> text; of a stage that comes several times the last."""
    preset = load_preset(name)
    options = with_preset(Options(**flags), preset, generator_given=False)
    return {row["stage"].strip(): row["what"] for row in plan_preset(preset, options, workspace, rates)}


def number(text: str) -> float:
    found = re.search(r"\d+\.\d+", text)
    assert found is not None
    return float(found[0])


@pytest.mark.parametrize("name", presets())
def test_a_plan_has_hours_disk_dollars_and_the_rates_they_follow_from(workspace: Path, name: str) -> None:
    steps = planned(workspace, name)
    assert number(steps["GPU hours"]) > 0
    assert number(steps["disk"]) > 0
    assert "USD together" in steps["dollars"]
    assert "300 TFLOPS sustained on one GPU (--gpu-tflops), 3 USD an hour (--gpu-price)" in steps["rates"]
    assert "stm-paper: 12 tasks" in steps["suite"]


def test_hours_follow_the_speed_and_dollars_the_price(workspace: Path) -> None:
    usual = planned(workspace, "paper/gemma-2b")
    slow = planned(workspace, "paper/gemma-2b", GpuRates(tflops=USUAL.tflops / 2, dollars=1.0))
    assert number(slow["GPU hours"]) == pytest.approx(2 * number(usual["GPU hours"]), rel=0.01)
    assert number(slow["dollars"]) == pytest.approx(2 / 3 * number(usual["dollars"]), rel=0.01)


def test_all_models_together_take_the_sum_and_pay_the_llm_once(workspace: Path) -> None:
    names = [model.name for model in load_preset("paper").models]
    assert names == ["qwen3-0.6b", "gemma-2b", "phi-4-mini"]
    alone = [planned(workspace, f"paper/{name}") for name in names]
    together = planned(workspace, "paper")
    assert number(together["GPU hours"]) == pytest.approx(sum(number(steps["GPU hours"]) for steps in alone), abs=0.2)
    assert "1,426,000 calls of openai/gpt-4.1" in together["LLM"]
    assert together["LLM"] == f"{alone[0]['LLM']}; all models share it"


def test_an_llm_of_unknown_price_is_not_free(workspace: Path) -> None:
    preset = load_preset("strong")
    options = with_preset(Options(generator="scripted:numbered"), preset, generator_given=True)
    rows = plan_preset(preset, options, workspace, USUAL)
    assert "the LLM's price is not known" in rows[-1]["what"]


def test_controls_and_steps_cost_what_they_train(workspace: Path) -> None:
    preset = load_preset("paper/qwen3-0.6b")
    options = with_preset(Options(), preset, generator_given=False)
    assert options.controls, "the paper's plan has its controls"

    def hours(flags: Options) -> float:
        rows = {row["stage"]: row["what"] for row in plan_preset(preset, flags, workspace, USUAL)}
        return number(rows["GPU hours"])

    assert hours(options) > 1.3 * hours(replace(options, controls=False))


def test_the_papers_steps_are_one_pass_over_its_pairs() -> None:
    preset = load_preset("paper")
    steps = {model.name: [expert.steps for expert in preset.domain_of(model).experts] for model in preset.models}
    assert steps["qwen3-0.6b"] == [1684, 1196, 1711, 981]
    assert steps["phi-4-mini"] == [6735, 4782, 6844, 3922]
    rates = {model.name: (model.batch_size, model.learning_rate) for model in preset.models}
    assert rates == {"qwen3-0.6b": (256, 5e-5), "gemma-2b": (128, 1e-5), "phi-4-mini": (64, 2e-5)}


def test_the_shapes_are_those_of_the_architectures() -> None:
    import torch
    from transformers import AutoModel, GemmaConfig, Phi3Config, Qwen3Config

    from stm_agent.backbone.lora import lora_targets

    configs = {"qwen3-0.6b": Qwen3Config, "gemma-2b": GemmaConfig, "phi-4-mini": Phi3Config}
    for model in load_preset("paper").models:
        shape = model.shape
        sizes: dict[str, Any] = {
            "num_hidden_layers": shape.layers,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_heads,
            "vocab_size": shape.vocabulary,
            "pad_token_id": 0,
        }
        if model.name != "phi-4-mini":
            sizes["head_dim"] = shape.head_size
        with torch.device("meta"):
            network = AutoModel.from_config(configs[model.name](**sizes))
        counted = sum(parameter.numel() for parameter in network.parameters())
        assert shape.parameters == pytest.approx(counted, rel=1e-3)
        modules = dict(network.named_modules())
        adapter = 16 * sum(sum(modules[name].weight.shape) for name in lora_targets(network, embeddings=False))
        # Phi-3 has its queries, keys and values in one matrix, and so one factor in place of three.
        assert adapter <= shape.adapter(16) < 1.7 * adapter


def test_sizes_of_official_tasks_are_those_that_mteb_counted() -> None:
    assert task_sizes("NFCorpus", "test", "default")[0] == 3633
    assert task_sizes("CUREv1", "all", "en")[0] > 100_000
    assert task_sizes("PublicHealthQA", "test", "english")[0] > 100


def test_a_folder_takes_the_place_of_a_presets_collection(tmp_path: Path) -> None:
    preset = load_preset("strong")
    spec = preset.domain_of(preset.models[0], collection=tiny_beir(tmp_path / "own"))
    assert spec.collection.kind == "beir"
    assert [expert.name for expert in spec.experts] == ["taught", "hard", "queries-1", "queries-2"]


def test_models_and_data_in_the_folder_are_used_and_the_rest_is_the_hubs(tmp_path: Path) -> None:
    (tmp_path / "Qwen" / "Qwen3-Embedding-4B").mkdir(parents=True)
    preset = load_preset("strong")
    spec = preset.domain_of(preset.models[0], tmp_path)
    assert spec.teach.scores == str(tmp_path / "Qwen" / "Qwen3-Embedding-4B")
    assert spec.backbone.model == "Qwen/Qwen3-Embedding-0.6B"
    assert getattr(spec.collection, "data_dir", None) == tmp_path


def test_a_preset_has_no_other_starts_and_many_runs_no_common_name() -> None:
    preset = load_preset("paper")
    with pytest.raises(ConfigError, match=r"leave out --start, or choose one of them: --preset paper/qwen3-0\.6b"):
        with_preset(Options(starts=("auto",)), preset, generator_given=False)
    with pytest.raises(ConfigError, match="--run-id names one run and --preset paper makes 3"):
        with_preset(Options(run_id="mine"), preset, generator_given=False)


def test_the_users_generator_wins_and_reflects_too() -> None:
    preset = load_preset("paper")
    own = with_preset(Options(generator="openai/own"), preset, generator_given=True)
    assert (own.generator, own.reflection) == ("openai/own", None)
    usual = with_preset(Options(), preset, generator_given=False)
    assert usual.generator == "openai/gpt-4.1"
    assert usual.reflection is not None
