"""A published checkpoint and its fine-tune, saved years apart: compared as they are once loaded, and merged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from transformers import AutoModelForCausalLM

from stm_agent.backbone.network import network_of
from stm_agent.errors import ConfigError
from stm_agent.merge.names import bare_name, is_buffer
from stm_agent.merge.product import merge_folders
from stm_agent.merge.recipe import Recipe
from stm_agent.testing.pico import pico_checkpoint, pico_decoder

TEXTS = ["a question", "a much longer passage about nothing in particular"]


def rewrite(path: Path, change: Any) -> None:
    """Change a JSON file."""
    values = json.loads(path.read_text())
    path.write_text(json.dumps(change(values) or values))


def with_normalize(folder: Path, **options: Any) -> SentenceTransformer:
    model = SentenceTransformer(str(pico_checkpoint(folder, prompts={"query": "", "document": ""})), device="cpu")
    model.append(Normalize(**options))
    return model


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """Return a fine-tune as the present version saves it."""
    model = with_normalize(tmp_path / "raw-tuned")
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in network_of(model).parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    model.save(str(tmp_path / "tuned"))
    return tmp_path / "tuned"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return the base of the fine-tune as a version of 2021 saved it, with everything that has changed since."""
    folder = tmp_path / "published"
    with_normalize(tmp_path / "raw-published").save(str(folder))
    rewrite(
        folder / "1_Pooling" / "config.json",
        lambda config: {
            "word_embedding_dimension": config["embedding_dimension"],
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    shutil.rmtree(folder / "2_Normalize")
    rewrite(
        folder / "modules.json",
        lambda modules: [
            {**module, "type": f"sentence_transformers.models.{module['type'].rsplit('.', 1)[-1]}"}
            for module in modules
        ],
    )
    rewrite(folder / "config_sentence_transformers.json", lambda config: {"__version__": config["__version__"]})
    weights = load_file(folder / "model.safetensors")
    old = {f"bert.{name.replace('LayerNorm.weight', 'LayerNorm.gamma')}": weight for name, weight in weights.items()}
    old["bert.embeddings.position_ids"] = torch.arange(64)[None]
    old["cls.predictions.bias"] = torch.zeros(7)
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("method", ["linear", "ties"])
@pytest.mark.parametrize("first", ["published", "tuned"])
def test_a_published_encoder_and_its_fine_tune_merge(
    published: Path, tuned: Path, tmp_path: Path, method: str, first: str
) -> None:
    experts = [published, tuned] if first == "published" else [tuned, published]
    recipe = Recipe(method=method, weights=(0.5, 0.5), density=1.0)
    base = None if method == "linear" else str(published)
    merge_folders(experts, recipe, tmp_path / "out", backbone=None, base=base)
    merged, old, new = (
        network_of(SentenceTransformer(str(folder), device="cpu")).state_dict()
        for folder in (tmp_path / "out", published, tuned)
    )
    assert merged.keys() == old.keys() == new.keys()
    for name, weight in merged.items():
        # Of deltas 0 and d, TIES keeps d, since zeros have no vote.
        expected = (old[name] + new[name]) / 2 if method == "linear" else new[name]
        if weight.is_floating_point():
            assert torch.allclose(weight, expected, atol=1e-6), name
    if method == "linear":
        assert not np.allclose(*(SentenceTransformer(str(f), device="cpu").encode(TEXTS) for f in (published, tuned)))


@pytest.mark.parametrize(
    ("file", "change", "part"),
    [
        ("config_sentence_transformers.json", {"prompts": {"query": "find: "}}, "its prompts"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "dot"}, "its similarity_fn_name"),
        ("1_Pooling/config.json", {"pooling_mode": "cls"}, "module 1_Pooling"),
        ("1_Pooling/config.json", {"include_prompt": False}, "module 1_Pooling"),
        ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}, "module 2_Normalize"),
    ],
)
def test_what_changes_vectors_still_differs(
    published: Path, tuned: Path, tmp_path: Path, file: str, change: dict[str, Any], part: str
) -> None:
    rewrite(tuned / file, lambda config: {**config, **change})
    with pytest.raises(ConfigError, match=f"differ in {part}"):
        merge_folders([published, tuned], Recipe(weights=(1.0, 1.0)), tmp_path / "out", backbone=None, base=None)


def test_modules_with_other_weights_differ(tmp_path: Path) -> None:
    folders = [pico_checkpoint(tmp_path / str(seed), dense=16, seed=0) for seed in (0, 1)]
    again = merge_folders(folders, Recipe(weights=(1.0, 1.0)), tmp_path / "same", backbone=None, base=None)
    assert again["method"] == "linear"
    path = next(folders[1].rglob("2_Dense/model.safetensors"))
    dense = load_file(path)
    save_file({name: weight + 0.1 for name, weight in dense.items()}, path)
    with pytest.raises(ConfigError, match="differ in module 2_Dense"):
        merge_folders(folders, Recipe(weights=(1.0, 1.0)), tmp_path / "out", backbone=None, base=None)


def language_models(tmp_path: Path, *, own_head: bool) -> list[Path]:
    """Return a language model that stores its head and one that ties it, as transformers folders."""
    folders = []
    for name in ("headed", "tied"):
        raw = pico_decoder(tmp_path / f"raw-{name}", seed=len(name))
        model = AutoModelForCausalLM.from_pretrained(raw, tie_word_embeddings=True)
        model.save_pretrained(tmp_path / name)
        folders.append(tmp_path / name)
    path = folders[0] / "model.safetensors"
    weights = load_file(path)
    head = weights["model.embed_tokens.weight"].clone() + (0.5 if own_head else 0.0)
    save_file({**weights, "lm_head.weight": head}, path, metadata={"format": "pt"})
    return folders


def test_a_stored_copy_of_a_tied_head_is_no_difference(tmp_path: Path) -> None:
    folders = language_models(tmp_path, own_head=False)
    merge_folders(folders, Recipe(weights=(1.0, 1.0)), tmp_path / "out", backbone=None, base=None)
    merged, first, second = (
        load_file(folder / "model.safetensors")["model.embed_tokens.weight"] for folder in (tmp_path / "out", *folders)
    )
    assert torch.allclose(merged, (first + second) / 2, atol=1e-6)


def test_a_language_model_with_a_head_of_its_own_is_not_mixed_with_a_tied_one(tmp_path: Path) -> None:
    folders = language_models(tmp_path, own_head=True)
    with pytest.raises(ConfigError, match=r"has a lm_head\.weight of its own"):
        merge_folders(folders, Recipe(weights=(1.0, 1.0)), tmp_path / "out", backbone=None, base=None)


def test_names_are_those_of_the_loaded_network() -> None:
    assert bare_name("roberta.encoder.layer.0.output.LayerNorm.beta") == "encoder.layer.0.output.LayerNorm.bias"
    assert bare_name("embeddings.word_embeddings.weight") == "embeddings.word_embeddings.weight"
    assert is_buffer("layers.0.self_attn.rotary_emb.inv_freq", (8,))
    assert is_buffer("h.0.attn.bias", (1, 1, 64, 64))
    assert not is_buffer("h.0.attn.c_attn.bias", (96,))
    assert not is_buffer("blocks.0.attn.bias", (32,))
