"""A weights file written anew: every byte in its place, whatever the blocks and whoever copies."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stm_agent.errors import DataError
from stm_agent.merge import rewrite as module
from stm_agent.merge.delta import LoraDelta
from stm_agent.merge.rewrite import rewrite
from stm_agent.merge.weights import StateDictReader, write_merged


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, torch.Tensor]:
    """Weights of several sizes and types in ``base/model.safetensors``, those that change apart from each other."""
    torch.manual_seed(0)
    weights = {
        "a.weight": torch.randn(40, 6),
        "b.bias": torch.randn(7),
        "c.weight": torch.randn(3, 5).bfloat16(),
        "d.weight": torch.randn(9, 4, 2),
        "e.count": torch.tensor(3),
    }
    (tmp_path / "base").mkdir()
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    return weights


def doubled(weights: dict[str, torch.Tensor]):
    def change(name: str, raw: torch.Tensor, first: int) -> None:
        rows = raw.view(weights[name].dtype).view(-1, *weights[name].shape[1:])
        assert torch.equal(rows, weights[name][first : first + len(rows)]), "a block has the bytes of its rows"
        rows.mul_(2)

    return change


@pytest.mark.parametrize("chunk", [1, 50, 1 << 22])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kernel", [True, False])
def test_what_changes_changes_and_all_else_stays(tmp_path, stored, monkeypatch, chunk, whole, kernel):
    monkeypatch.setattr(module, "CHUNK", chunk)
    if not kernel:

        def refuse(*_args: object) -> int:
            raise OSError(errno.EXDEV, "no")

        monkeypatch.setattr(os, "copy_file_range", refuse)
    changed = {"a.weight", "c.weight", "d.weight"}
    rewrite(tmp_path / "base/model.safetensors", tmp_path / "new", changed, doubled(stored), whole=whole)
    told = load_file(tmp_path / "new")
    assert told.keys() == stored.keys()
    for name, weight in told.items():
        assert torch.equal(weight, stored[name] * (2 if name in changed else 1)), name


def test_a_file_that_ends_early_is_told(tmp_path, stored):
    path = tmp_path / "base" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="is shorter than its header says"):
        rewrite(path, tmp_path / "new", {"a.weight", "d.weight"}, lambda *_: None)


def test_a_change_that_fails_leaves_no_thread_behind(tmp_path, stored):
    def fail(*_args: object) -> None:
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        rewrite(tmp_path / "base/model.safetensors", tmp_path / "new", {"a.weight"}, fail)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_delta_by_rows_is_the_delta(tmp_path, monkeypatch, dtype):
    torch.manual_seed(1)
    weights = {"embed.weight": torch.randn(30, 4).to(dtype), "up.weight": torch.randn(12, 4).to(dtype)}
    (tmp_path / "base").mkdir()
    save_file(weights, tmp_path / "base" / "model.safetensors")
    delta = LoraDelta(
        {"embed": (torch.randn(2, 30), torch.randn(4, 2)), "up": (torch.randn(2, 4), torch.randn(12, 2))},
        frozenset({"embed"}),
    )
    monkeypatch.setattr(module, "CHUNK", 40)
    write_merged(StateDictReader(tmp_path / "base"), delta, tmp_path / "made")
    for name, weight in load_file(tmp_path / "made" / "model.safetensors").items():
        wanted = weights[name] + delta.matrix(name).to(dtype)
        assert torch.allclose(weight.float(), wanted.float(), atol=1e-6 if dtype == torch.float32 else 0.05), name
