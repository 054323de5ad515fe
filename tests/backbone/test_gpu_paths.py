"""What a GPU changes, as far as a CPU can show it: kernels, number formats, and batches by memory."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stm_agent.backbone import batches, kernels, load
from stm_agent.backbone.batches import CPU_ROOM, LEAST_TOKENS, MOST_TOKENS, bytes_of_token, gpu_room, room_of
from stm_agent.backbone.encoder import TextEncoder
from stm_agent.backbone.kernels import FLASH, attention_kernel
from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.network import network_of
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import BackboneError
from stm_agent.testing.pico import pico_decoder

TEXTS = [f"text number {number} " * (1 + number % 7) for number in range(40)]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.import_utils.is_flash_attn_2_available", lambda: True)


@pytest.mark.usefixtures("installed")
def test_flash_attention_is_the_choice_where_it_can_be_used() -> None:
    assert attention_kernel("auto", "cuda", torch.bfloat16) == FLASH
    assert attention_kernel("flash", "cuda", torch.float16) == FLASH
    assert attention_kernel("auto", "cuda", torch.float32) is None
    assert attention_kernel("auto", "cpu", torch.bfloat16) is None
    assert attention_kernel("sdpa", "cuda", torch.bfloat16) == "sdpa"


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("cpu", torch.float32, "kernel flash needs a GPU, and torch finds none; or set kernel: auto"),
        ("cuda", torch.float32, "needs numbers in half precision, not float32: set dtype: bfloat16"),
        ("cuda", torch.bfloat16, "python -m pip install flash-attn"),
    ],
)
def test_flash_attention_that_cannot_be_used_is_refused_with_the_fix(
    device: str, dtype: torch.dtype, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.utils.import_utils.is_flash_attn_2_available", lambda: False)
    with pytest.raises(BackboneError, match=message) as caught:
        attention_kernel("flash", device, dtype)
    assert "\n" not in str(caught.value)
    assert attention_kernel("auto", device, dtype) is None


def test_a_model_on_which_flash_attention_fails_runs_with_torchs_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A CPU has no FlashAttention, so transformers refuses it when the model is loaded, as it may on a GPU.
    monkeypatch.setattr(kernels, "flash_fault", lambda device, dtype: None)
    spec = BackboneSpec(model=str(pico_decoder(tmp_path / "pico")))
    load._log_without_flash.cache_clear()
    with caplog.at_level(logging.WARNING):
        model = load_backbone(spec)
    assert network_of(model).config._attn_implementation == "sdpa"
    assert "runs with torch's attention, FlashAttention failed: cannot load backbone" in caplog.text
    with pytest.raises(BackboneError, match="cannot load backbone"):
        load_backbone(spec.model_copy(update={"kernel": "flash"}))


@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_plain_products_give_the_vectors_of_torchs_attention(tmp_path: Path, attention: Any) -> None:
    folder = str(pico_decoder(tmp_path / "pico", architecture="qwen3"))
    vectors = []
    for kernel in ("sdpa", "eager"):
        spec = BackboneSpec(model=folder, attention=attention, kernel=kernel)
        model = load_backbone(spec)
        assert network_of(model).config._attn_implementation == kernel
        vectors.append(TextEncoder(model).encode(TEXTS))
    np.testing.assert_allclose(*vectors, atol=1e-5)


def test_flash_attention_is_told_its_direction_by_the_modules(tmp_path: Path) -> None:
    from stm_agent.backbone.checkpoint import set_attention

    model = load_backbone(BackboneSpec(model=str(pico_decoder(tmp_path / "pico", architecture="qwen3"))))
    network = network_of(model)
    told = [module for module in network.modules() if isinstance(getattr(module, "is_causal", None), bool)]
    assert len(told) == 2, "an attention module a layer"
    network.config._attn_implementation = FLASH
    kernels.set_module_direction(network, causal=False)
    assert not any(module.is_causal for module in told)
    network.config._attn_implementation = "sdpa"
    set_attention(model, "bidirectional")
    assert kernels.uses_flash(network) is False


def test_a_cpus_batches_are_as_they_were(tmp_path: Path) -> None:
    model = load_backbone(BackboneSpec(model=str(pico_decoder(tmp_path / "pico"))))
    assert room_of(model) == CPU_ROOM
    assert [CPU_ROOM.texts_of(length) for length in (8, 64, 128, 512, 10_000)] == [64, 64, 32, 8, 1]


def test_a_gpus_batch_grows_with_its_free_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_backbone(BackboneSpec(model=str(pico_decoder(tmp_path / "pico"))))
    network = network_of(model)
    wide = network.config.intermediate_size
    assert bytes_of_token(model) == (batches.HIDDEN_COPIES * 32 + batches.WIDE_COPIES * wide) * 4
    small, large = (gpu_room(gib * 2**30, 2**17) for gib in (2, 8))
    assert large.tokens == 4 * small.tokens
    assert large.texts_of(512) == 4 * small.texts_of(512)
    assert gpu_room(0, 2**17).tokens == LEAST_TOKENS
    assert gpu_room(2**45, 2**17).tokens == MOST_TOKENS
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**33, 2**34))
    on_gpu = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(batches, "bytes_of_token", lambda _: 2**17)
    assert room_of(on_gpu) == large  # type: ignore[arg-type]


def test_batches_of_any_size_give_the_same_vectors(tmp_path: Path) -> None:
    encoder = TextEncoder(load_backbone(BackboneSpec(model=str(pico_decoder(tmp_path / "pico")))))
    usual = encoder.encode(TEXTS)
    # What a large GPU would do: all texts at once.
    encoder._room = gpu_room(2**36, 2**14)
    np.testing.assert_allclose(encoder.encode(TEXTS), usual, atol=1e-5)
