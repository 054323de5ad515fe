"""Memory that really runs out is one error of the tree, and an encoder tries once with smaller batches."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

from stm_agent.backbone.encoder import TextEncoder
from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import OutOfMemory

TEXTS = [f"text number {number}" for number in range(100)]


def ask_for_too_much():
    torch.empty(1 << 55)


@pytest.fixture
def encoder(pico):
    return TextEncoder(load_backbone(BackboneSpec(model=str(pico))))


def fail_above(encoder, limit):
    """Let the allocator refuse every batch of more texts than ``limit``; return the sizes that were tried."""
    sizes = []

    def allocate(module, inputs):
        sizes.append(len(inputs[0]["input_ids"]))
        if sizes[-1] > limit:
            ask_for_too_much()

    encoder.model[0].register_forward_pre_hook(allocate)
    return sizes


@pytest.mark.parametrize(
    "allocate",
    [
        ask_for_too_much,
        lambda: np.empty(1 << 59, dtype=np.uint8),
        lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")),
        lambda: (_ for _ in ()).throw(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")),
    ],
)
def test_every_allocator_gives_one_error(allocate):
    message = r"memory ran out while testing \(.+\); use less"
    with pytest.raises(OutOfMemory, match=message) as caught, memory_errors("testing", fix="use less"):
        allocate()
    assert "\n" not in str(caught.value)


def test_other_errors_stay_as_they_are():
    with pytest.raises(RuntimeError, match="shapes do not match"), memory_errors("testing"):
        raise RuntimeError("shapes do not match")


def test_what_the_failed_step_held_is_released():
    held = []

    def step():
        tensor = torch.zeros(8)
        held.append(weakref.ref(tensor))
        ask_for_too_much()

    with pytest.raises(OutOfMemory) as caught, memory_errors("testing"):
        step()
    gc.collect()
    assert caught.value.__cause__ is not None
    assert held[0]() is None


def test_what_refers_to_itself_is_released_before_the_caller_tries_again():
    class Trainer:
        pass

    held = []

    def step():
        trainer = Trainer()
        trainer.itself = trainer
        held.append(weakref.ref(trainer))
        ask_for_too_much()

    gc.disable()
    try:
        with pytest.raises(OutOfMemory), memory_errors("testing"):
            step()
        assert held[0]() is None
    finally:
        gc.enable()


def test_freed_memory_goes_back_to_the_system():
    code = """
import os
import torch
from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.backbone.threads import keep_freed_memory
from stm_agent.errors import OutOfMemory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def step():
    blocks = [torch.ones(1 << 18) for _ in range(200)]
    print(resident())
    torch.empty(1 << 55)

print(int(keep_freed_memory()))
try:
    with memory_errors("testing"):
        step()
except OutOfMemory:
    print(resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    keeps, full, left = map(int, done.stdout.split())
    assert not keeps or full - left > 150 * 2**20


def test_an_encoder_halves_its_batches_once_and_says_so(encoder, caplog):
    expected = encoder.encode(TEXTS)
    sizes = fail_above(encoder, 40)
    caplog.set_level(logging.WARNING)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    assert encoder.halved
    assert sizes == [64, 32, 32, 32, 4]
    assert [record.message.rpartition("; ")[2] for record in caplog.records] == [
        "batches are half as large from text 1 of 100 on"
    ]
    encoder.encode(TEXTS)
    assert len(caplog.records) == 1


def test_an_encoder_halves_its_batches_until_they_fit(encoder, caplog):
    expected = encoder.encode(TEXTS)
    sizes = fail_above(encoder, 10)
    caplog.set_level(logging.WARNING)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    assert sizes[:4] == [64, 32, 16, 8]
    assert max(sizes[4:]) == 8
    assert len(caplog.records) == 3


def test_an_encoder_stops_at_a_single_text(encoder):
    sizes = fail_above(encoder, 0)
    with pytest.raises(OutOfMemory, match="while encoding 1 texts"):
        encoder.encode(TEXTS)
    assert sizes == [64, 32, 16, 8, 4, 2, 1]
