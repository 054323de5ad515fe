"""The starts that race if a domain leaves its backbone open."""

from __future__ import annotations

from stm_agent.domain.backbone_spec import BackboneSpec
from stm_agent.machine import this_machine

AUTO = "auto"
"""Backbone of a domain whose start is chosen by a race."""

AUTO_STARTS = (
    BackboneSpec(model="embedded:all-minilm-l6-v2"),
    BackboneSpec(model="embedded:smollm2-135m", layers=6, attention="bidirectional", pooling="mean", max_length=128),
)
"""Starts that are within reach of every machine: a ready encoder, and the first layers of a decoder."""

GPU_STARTS = (
    BackboneSpec(model="Qwen/Qwen3-Embedding-0.6B"),
    BackboneSpec(model="Qwen/Qwen3-0.6B", attention="bidirectional", pooling="mean", max_length=128),
)
"""Starts of the Hub that a GPU makes affordable: an embedding checkpoint of a decoder, and a raw decoder. One that
cannot be fetched costs its row of the race alone."""


def gpu_starts() -> tuple[BackboneSpec, ...]:
    """Return the starts of the Hub that this machine can afford: :data:`GPU_STARTS`, or none."""
    return GPU_STARTS if this_machine().gpu else ()


def auto_starts() -> tuple[BackboneSpec, ...]:
    """Return the starts that ``auto`` stands for on this machine."""
    return (*AUTO_STARTS, *gpu_starts())
