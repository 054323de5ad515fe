"""The fused LoRA layer gives peft's numbers, forward and backward, and peft's own path where it cannot."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from stm_agent.backbone.fused_lora import _LoraLinear, fuse_lora, mixed_products


def network(dropout=0.0, bias=True, **options):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(12, 20, bias=bias), nn.SiLU(), nn.Linear(20, 8, bias=bias))
    config = LoraConfig(r=4, lora_alpha=10, lora_dropout=dropout, target_modules=["0", "2"], **options)
    model = get_peft_model(body, config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    return model.double()


def run(model, x):
    x = x.clone().requires_grad_()
    out = model(x)
    (out**2).sum().backward()
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    return out.detach(), x.grad, grads


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 12), (3, 5, 12)])
def test_the_same_numbers_and_gradients_as_peft(bias, shape):
    plain = network(bias=bias)
    fused = copy.deepcopy(plain)
    assert fuse_lora(fused) == 2
    x = torch.randn(shape, dtype=torch.double)
    expected, found = run(plain, x), run(fused, x)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    assert found[2].keys() == expected[2].keys()
    for name, grad in expected[2].items():
        torch.testing.assert_close(found[2][name], grad)


@pytest.mark.parametrize("change", ["dropout", "disabled", "merged", "dora", "second", "half", "autocast"])
def test_what_is_not_plain_lora_goes_peft_s_own_way(change, monkeypatch):
    model = network(dropout=0.5 if change == "dropout" else 0.0, use_dora=change == "dora")
    expected = copy.deepcopy(model).eval()
    fuse_lora(model)
    monkeypatch.setattr(_LoraLinear, "apply", lambda *_: pytest.fail("fused"))
    for each in (model, expected):
        if change == "disabled":
            each.disable_adapter_layers()
        if change == "merged":
            each.merge_adapter()
        if change == "second":
            torch.manual_seed(1)
            each.add_adapter("other", LoraConfig(r=2, target_modules=["0", "2"]))
            each.base_model.set_adapter(["default", "other"])
    x = torch.randn(5, 12, dtype=torch.double)
    if change == "half":
        # As on a GPU: the base in half precision, the adapter in float32.
        for each in (model, expected):
            for name, weight in each.named_parameters():
                weight.data = weight.data.to(torch.float32 if "lora_" in name else torch.bfloat16)
        x = x.to(torch.bfloat16)
    if change == "autocast":
        model, expected, x = model.float(), expected.float(), x.float()
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(x), expected(x))
        return
    if change == "dropout":
        # Drawn anew at every call: only the path is checked, and that nothing is dropped in eval.
        model(x)
        monkeypatch.undo()
        model.eval()
    torch.testing.assert_close(model(x), expected(x))


def test_mixed_products_are_nearly_the_same_and_end_with_their_block():
    model = network().float()
    fuse_lora(model)
    x = torch.randn(64, 12)
    exact = run(model, x)
    model.zero_grad()
    with mixed_products(model):
        mixed = run(model, x)
    model.zero_grad()
    again = run(model, x)
    gradients = [(exact[2][name], found) for name, found in mixed[2].items()]
    for expected, found in [(exact[0], mixed[0]), (exact[1], mixed[1]), *gradients]:
        assert found.dtype == torch.float32
        assert not torch.equal(found, expected)
        assert (found - expected).norm() < 0.01 * expected.norm()
    torch.testing.assert_close(again, exact, rtol=0, atol=0)
