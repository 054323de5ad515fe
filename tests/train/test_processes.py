"""Several processes train one expert: launched as users launch them, on the CPU's backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml

from stm_agent.errors import ConfigError
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_beir
from stm_agent.train.processes import Processes, one_process, processes, share_beside


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    from stm_agent.backbone.load import load_backbone
    from stm_agent.cli.init import init_workspace
    from stm_agent.domain.spec import BackboneSpec

    init_workspace(tmp_path / "space")
    decoder = str(pico_decoder(tmp_path / "pico"))
    load_backbone(BackboneSpec(model=decoder, max_length=32), packed=False).save(str(tmp_path / "teacher"))
    spec = {
        "name": "tiny",
        "task": "A question -> the passage that answers it",
        "collection": {"kind": "beir", "path": str(tiny_beir(tmp_path / "beir"))},
        "general": [],
        "backbone": {"model": decoder, "max_length": 32},
        "baseline": None,
        "experts": [{"name": "plain", "sources": ["train"], "steps": 8, "teacher_weight": 1.0}],
        "train": {"batch_size": 4, "learning_rate": 0.01, "teacher": str(tmp_path / "teacher"), "checkpoint_every": 3},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def start(domain: Path, output: Path, count: int, *flags: str) -> subprocess.Popen[str]:
    # torchrun; accelerate starts several processes on GPUs only.
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    train = ["train", "--domain", str(domain), "--expert", "plain", "--output", str(output)]
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "stm_agent", *train, "--workspace", str(domain.parent / "space"), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def launch(domain: Path, output: Path, count: int, *flags: str) -> subprocess.CompletedProcess[str]:
    going = start(domain, output, count, *flags)
    told, errors = going.communicate(timeout=200)
    return subprocess.CompletedProcess(going.args, going.returncode, told, errors)


def test_two_processes_killed_together_go_on_together_and_write_one_expert(domain: Path, tmp_path: Path) -> None:
    going = start(domain, tmp_path / "out", 2, "--steps", "40", "--json")
    stages = tmp_path / "space" / "runs" / ".stages"
    while not list(stages.glob(".checkpoints-*/checkpoint-*/manifest.json")) and going.poll() is None:
        time.sleep(0.1)
    # torchrun's workers have sessions of their own.
    parent = psutil.Process(going.pid)
    for process in [*parent.children(recursive=True), parent]:
        process.kill()
    going.communicate()
    assert not (tmp_path / "out").exists()
    done = launch(domain, tmp_path / "out", 2, "--steps", "40", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert (report["steps"], report["processes"]) == (40, 2)
    assert report["resumed_at"] >= 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) >= ["adapter", "expert.json", "model"]
    assert list(tmp_path.rglob(".checkpoints-*")) == []


def test_a_users_mistake_stops_all_processes(domain: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    done = launch(domain, tmp_path / "out", 2)
    assert done.returncode != 0
    assert "out exists; name a new folder" in done.stderr


def _meet(rank: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(rank)
    loss = torch.nn.ModuleDict({"model": torch.nn.Linear(2, 2), "mapping": torch.nn.Linear(2, 1)})
    share_beside(loss, loss["model"])
    data = torch.full((1, 2), float(rank + 1))
    loss["mapping"](loss["model"](data) * 0 + data).sum().backward()
    torch.save([loss["mapping"].weight.detach(), loss["mapping"].weight.grad], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_what_is_trained_beside_the_model_is_the_same_everywhere(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_meet, (str(tmp_path),), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(one[0], two[0])
    # The mean of the gradients 1 and 2.
    assert torch.equal(one[1], two[1])
    assert one[1].tolist() == [[1.5, 1.5]]


def test_one_process_where_nothing_launched_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes() == Processes(0, 1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert processes() == Processes(1, 3)
    assert not processes().writes
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="FSDP"):
        processes()


def test_the_whole_loop_is_one_processs_work(monkeypatch: pytest.MonkeyPatch, domain: Path) -> None:
    one_process()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="train: processes"):
        one_process()
