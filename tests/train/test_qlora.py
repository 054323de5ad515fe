"""An expert learns on a backbone in 4 bits and is used with the whole one."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from stm_agent.backbone.checks import vectors
from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.network import network_of
from stm_agent.errors import ConfigError
from stm_agent.merge.delta import fold, load_delta


def test_products_are_held_in_four_bits_and_near_the_whole_ones(backbone):
    from bitsandbytes.nn import Linear4bit

    from stm_agent.backbone.nf4 import hold_in_nf4

    whole, held = load_backbone(backbone), load_backbone(backbone)
    count = hold_in_nf4(network_of(held))
    layers = [layer for layer in network_of(held).modules() if isinstance(layer, Linear4bit)]
    assert len(layers) == count == 14
    assert all(layer.weight.dtype.itemsize == 1 for layer in layers)
    cosines = (vectors(whole) * vectors(held)).sum(axis=1)
    assert 0.9 < cosines.min() < 0.99999


def test_an_expert_trained_on_it_teaches_the_whole_backbone(fit, backbone):
    done = fit("four-bit", steps=30, train=fit.train.model_copy(update={"qlora": True}))
    assert np.mean(done.losses[-3:]) < np.mean(done.losses[:3]) / 2
    assert done.checks["reload"] < 1e-5
    whole = load_backbone(backbone)
    before = vectors(whole)
    fold(network_of(whole), load_delta(done.adapter))
    assert np.abs(vectors(whole) - before).max() > 0.01


def test_without_the_package_the_extra_is_named(fit, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match=r"stm-agent\[qlora\]"):
        fit("four-bit", train=fit.train.model_copy(update={"qlora": True}))
