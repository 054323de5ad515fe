"""Models without sentence-transformers: the same vectors and identity as with it, or None."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from stm_agent.backbone.encoder import TextEncoder
from stm_agent.backbone.lean_load import load_lean
from stm_agent.backbone.load import load_model
from stm_agent.backbone.opened import open_model
from stm_agent.backbone.sides import encoder_of
from stm_agent.errors import BackboneError
from stm_agent.testing.pico import pico_checkpoint

TEXTS = ["my knee is sore", "A finding of painful sensation affecting the knee.", "swollen " * 200, "x"]


def same_as_the_library(folder) -> None:
    (lean,) = load_lean(folder)
    ours, library = TextEncoder(lean), encoder_of(load_model(str(folder)))
    assert np.abs(ours.encode(TEXTS, prefix="ask: ") - library.encode(TEXTS, prefix="ask: ")).max() < 1e-6
    assert (ours.identity, ours.dimension) == (library.identity, library.dimension)
    assert ours.room("ask: ") == library.room("ask: ")


@pytest.mark.parametrize(
    ("architecture", "pooling", "dense"),
    [("bert", "mean", None), ("bert", "cls", 8), ("llama", "lasttoken", None), ("gemma3", "mean", 16)],
)
def test_vectors_and_identity_are_those_of_sentence_transformers(tmp_path, architecture, pooling, dense):
    folder = pico_checkpoint(
        tmp_path, architecture=architecture, pooling=pooling, dense=dense, prompts={"query": "q: "}
    )
    same_as_the_library(folder)
    assert open_model(str(folder)).prompts["query"] == "q: "


def test_both_sides_are_opened(tmp_path):
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.sides import join_sides

    sides = [SentenceTransformer(str(pico_checkpoint(tmp_path / str(n), seed=n)), device="cpu") for n in (1, 2)]
    join_sides(*sides).save(str(tmp_path / "joined"), create_model_card=False)
    lean, library = open_model(str(tmp_path / "joined")).encoder, encoder_of(load_model(str(tmp_path / "joined")))
    for ours, theirs in ((lean, library), (lean.query_encoder, library.query_encoder)):
        assert np.abs(ours.encode(TEXTS) - theirs.encode(TEXTS)).max() < 1e-6
        assert ours.identity == theirs.identity


def _edit(folder, file, **changes):
    path = folder / file
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **changes}))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "max"}),
        ("1_Pooling/config.json", {"include_prompt": False}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("sentence_bert_config.json", {"document_length": 8}),
        ("config_sentence_transformers.json", {"truncate_dim": 8}),
        ("config.json", {"auto_map": {"AutoModel": "modeling.Own"}}),
        ("adapter_config.json", {"peft_type": "LORA"}),
    ],
)
def test_what_only_the_library_can_run_is_left_to_it(tmp_path, file, change):
    folder = pico_checkpoint(tmp_path)
    _edit(folder, file, **change)
    assert load_lean(folder) is None


def test_a_model_with_another_pooling_is_opened_by_the_library(tmp_path):
    folder = pico_checkpoint(tmp_path, pooling="max")
    opened = open_model(str(folder)).encoder
    assert np.abs(opened.encode(TEXTS) - encoder_of(load_model(str(folder))).encode(TEXTS)).max() < 1e-6


def test_a_broken_folder_is_an_error_of_one_line(tmp_path):
    folder = pico_checkpoint(tmp_path)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(BackboneError, match="cannot load model"):
        load_lean(folder)
    shutil.rmtree(folder)
    with pytest.raises(BackboneError, match="no model found"):
        open_model(str(folder))


def test_a_model_is_opened_without_the_libraries_that_only_training_needs(tmp_path):
    folder = pico_checkpoint(tmp_path)
    heavy = {"sentence_transformers", "peft", "mteb", "dspy", "litellm", "datasets", "sklearn", "scipy"}
    code = (
        "import sys; from stm_agent.backbone.opened import open_model; "
        f"open_model({str(folder)!r}).encoder.encode(['a knee']); print(*sorted({heavy!r} & {{*sys.modules}})); "
        "from transformers.utils import is_scipy_available; print(is_scipy_available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]
