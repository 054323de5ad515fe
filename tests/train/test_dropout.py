"""Dropout on a CPU: as many elements and the same mean as torch's, repeated by a seed, and nothing in evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stm_agent.train.dropout import ByteDropout, make_dropout_fast


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_as_many_are_dropped_as_by_torch_and_the_mean_stays(p):
    torch.manual_seed(0)
    x = torch.ones(999, 1001)
    ours, torchs = ByteDropout(p)(x), nn.Dropout(p)(x)
    assert (ours == 0).float().mean() == pytest.approx((torchs == 0).float().mean(), abs=1 / 256)
    assert ours.mean() == pytest.approx(1.0, abs=0.005)
    assert len(ours.unique()) == 2
    # No element follows its neighbours, neither in a draw of 64 bits nor between rows.
    zero = (ours == 0).float()
    for step in (1, 4, 8):
        both = (zero[:, step:] * zero[:, :-step]).mean()
        assert both == pytest.approx(p * p, abs=0.003 + 2 * p / 256)


def test_a_seed_repeats_it_and_gradients_pass_where_values_do():
    x = torch.randn(7, 13, requires_grad=True)
    dropout = ByteDropout(0.3)
    torch.manual_seed(5)
    first = dropout(x)
    torch.manual_seed(5)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(dropout(x), first)
    first.sum().backward()
    torch.testing.assert_close(x.grad * x, first)


def test_nothing_is_dropped_in_evaluation_or_with_probability_zero():
    x = torch.randn(3, 5)
    assert ByteDropout(0.5).eval()(x) is x
    assert ByteDropout(0.0)(x) is x


def test_dropout_of_subclasses_and_of_probability_zero_or_one_stays():
    body = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.0), nn.Dropout(1.0), nn.AlphaDropout(0.1))
    assert make_dropout_fast(body) == 1
    assert [type(module) for module in body] == [ByteDropout, nn.Dropout, nn.Dropout, nn.AlphaDropout]
