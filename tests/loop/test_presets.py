"""Presets: both experiments run whole on tiny random models of the same architectures, with local data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stm_agent.domain.preset import Preset, load_preset
from stm_agent.domain.suites import find_suite
from stm_agent.errors import DataError
from stm_agent.files import read_json, read_jsonl
from stm_agent.loop.options import Options
from stm_agent.loop.presets import PresetRun, run_preset, with_preset
from stm_agent.testing.hub_data import official_data
from stm_agent.testing.pico import Architecture, pico_checkpoint, pico_decoder
from stm_agent.testing.tiny import tiny_collection

ARCHITECTURES: dict[str, Architecture] = {
    "Qwen/Qwen3-0.6B": "qwen3",
    "google/gemma-2b": "gemma",
    "microsoft/Phi-4-mini-instruct": "phi3",
}
SMALL: dict[str, dict[str, Any]] = {
    "instruct": {"pool": 1, "reflections": 1},
    "synthesize": {"pairs": 4, "queries": 32, "round_trip": 0},
    "merge": {"candidates": 20, "densities": [0.5], "verify": 1},
    "loop": {"rounds": 1, "probe_steps": 0, "bootstrap": 200},
}
"""What would only take longer; everything else is the preset's own."""


Run = Callable[[Preset], list[PresetRun]]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # mteb's own


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Models, NFCorpus, the twelve tasks and the four training files, in the Hub's layout."""
    folder = tmp_path / "data"
    for name, architecture in ARCHITECTURES.items():
        pico_decoder(folder / name, architecture=architecture)
    for seed, name in enumerate(("Qwen/Qwen3-Embedding-0.6B", "Qwen/Qwen3-Embedding-4B")):
        made = pico_checkpoint(
            tmp_path / f"made-{seed}", architecture="qwen3", pooling="lasttoken", eos=True, seed=seed
        )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        made.rename(folder / name)
    tiny = tiny_collection()
    for task in find_suite("stm-paper").tasks:
        splits = {"dev": "dev", "train": "train"} if task.name == "NFCorpus" else {}
        official_data(task.name, folder, tiny, {task.split: "test", **splits}, task.subset)
    train = tiny.splits["train"]
    pairs = [(text, next(iter(train.qrels[query]))) for query, text in train.queries.items()]
    rows = [
        {"anchor": f"{query} again", "positive": tiny.texts[answer], "negative": tiny.texts[other]}
        for (query, answer), (_, other) in pairwise(pairs)
        if answer != other
    ]
    (folder / "stm").mkdir()
    for number, name in enumerate(("med-synth", "med-real", "search", "nlu")):
        lines = "\n".join(map(json.dumps, rows[number::4]))
        (folder / "stm" / f"{name}.jsonl").write_text(lines)
    return folder


def small(name: str) -> Preset:
    """Return a preset with fewer steps, calls and candidates, and a rate at which two steps are seen."""
    preset = load_preset(name)
    domain: dict[str, Any] = dict(preset.domain)
    for part, values in SMALL.items():
        domain[part] = {**domain.get(part, {}), **values}
    domain["general"] = [{**guard, "documents": 20} for guard in domain["general"]]
    domain["experts"] = [{**expert, **({"steps": 2} if "steps" in expert else {})} for expert in domain["experts"]]
    if "judge" in domain["audit"]:
        domain["audit"] = {**domain["audit"], "judge": "scripted:numbered", "judged": 4, "own_text": True}
    # The embedded encoder's row is not part of a preset.
    domain["baseline"] = None
    models = tuple(model.model_copy(update={"batch_size": 8, "learning_rate": 0.02}) for model in preset.models)
    return preset.model_copy(update={"domain": domain, "models": models, "pairs": dict.fromkeys(preset.pairs, 16)})


@pytest.fixture
def run(workspace: Path, data_dir: Path, proof_in_this_process: None) -> Run:
    def call(preset: Preset) -> list[PresetRun]:
        options = with_preset(Options(generator="scripted:numbered"), preset, generator_given=True)
        return run_preset(preset, options, workspace=workspace, runs=workspace / "runs", data_dir=data_dir)

    return call


def few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep two tasks of the suite: the one with twelve is another test's."""
    from stm_agent.domain import suites

    suite = find_suite("stm-paper")
    monkeypatch.setitem(suites.SUITES, suite.name, replace(suite, tasks=suite.tasks[:2]))  # type: ignore[arg-type]


def variants_trained(folder: Path) -> set[str]:
    return {entry["name"] for entry in read_jsonl(folder / "ledger.jsonl") if entry["event"] == "expert"}


def test_the_paper_runs_whole_and_is_scored_on_its_twelve_tasks(run: Run, workspace: Path) -> None:
    preset = small("paper")
    (each,) = run(preset.model_copy(update={"models": preset.models[:1]}))
    report, suite = each["report"], each["suite"]
    assert report["failures"] == []
    folder = workspace / "runs" / report["run"]
    experts = ("med-synth", "med-real", "search", "nlu")
    assert {f"{expert} {variant}" for expert in experts for variant in ("FT", "FT+SHN")} <= variants_trained(folder)
    assert "all-in-one" in report["rows"], "the paper's control"
    assert suite is not None
    assert [row["task"] for row in suite["rows"]] == [task.name for task in find_suite("stm-paper").tasks]
    assert suite["instructions"]
    assert read_json(folder / "suite-stm-paper.json") == suite


def test_the_papers_other_architectures_run_one_after_another(run: Run, workspace: Path) -> None:
    preset = small("paper")
    # The whole experiment is another test's; here are an expert, its variants, a merge and the export.
    domain: dict[str, Any] = dict(preset.domain)
    domain |= {"experts": domain["experts"][:1], "general": [], "instruct": {"pool": 0, "reflections": 0}}
    domain["merge"] = {**domain["merge"], "methods": ["ties"]}
    changes = {"models": preset.models[1:], "domain": domain, "suite": None, "controls": False}
    done = run(preset.model_copy(update=changes))
    assert [each["model"] for each in done] == ["gemma-2b", "phi-4-mini"]
    for each in done:
        assert each["report"]["failures"] == []
        assert {"med-synth FT", "med-synth FT+SHN"} <= variants_trained(workspace / "runs" / each["report"]["run"])


def test_the_strong_preset_runs_on_an_embedding_checkpoint(
    run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_tasks(monkeypatch)
    (each,) = run(small("strong"))
    report, suite = each["report"], each["suite"]
    assert report["failures"] == []
    assert {"taught", "hard", "queries-1", "queries-2"} <= variants_trained(workspace / "runs" / report["run"])
    stages = {path.name.partition("-")[0] for path in (workspace / "runs" / ".stages").iterdir()}
    assert {"teach", "audit", "mine", "train", "merge", "official"} <= stages
    assert suite is not None
    assert not suite["instructions"], "the model's own prompts"


def test_nothing_is_trained_before_the_data_of_all_tasks_is_there(run: Run, workspace: Path, data_dir: Path) -> None:
    shutil.rmtree(data_dir / "mteb" / "fiqa")
    with pytest.raises(DataError, match=r"MTEB task FiQA2018 needs .*hf download mteb/fiqa"):
        run(small("paper"))
    assert not list((workspace / "runs").glob("*/run.json"))
