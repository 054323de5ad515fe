"""Training past one batch and one device: accumulation, gathering, warm-up, epochs, and whose negatives count."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, NegativeSpec, TrainSpec
from stm_agent.errors import (
    BackboneError,
    CheckFailed,
    ConfigError,
    DataError,
    ExecutionError,
    OutOfMemory,
    StmAgentError,
)
from stm_agent.train.batch_plan import plan_batches
from stm_agent.train.batches import GroupedBatches, SharedBatches
from stm_agent.train.data import Rows
from stm_agent.train.expert import train_expert
from stm_agent.train.job import TrainingJob
from stm_agent.train.launch import raise_fault, write_fault
from stm_agent.train.losses import own_negatives_alone
from stm_agent.train.processes import processes
from stm_agent.train.steps import warmup_steps, within_epochs

WORDS = ("heart", "knee", "water", "dog", "mountain", "fox", "blood", "heat", "body", "passage", "lazy", "swelling")
PAIRS = tuple(
    Pair(word, f"what about the {word}", f"{word} is what this passage answers", "train", word, (f"not the {word}",))
    for word in WORDS
)
GATHERED = {"negatives": NegativeSpec(structural=1, shared=False)}
"""Options of the case in which queries are compared with passages of the other process."""


def train(backbone: BackboneSpec, folder: Path, batch: int, options: dict, **train_options: object) -> list[float]:
    expert = ExpertSpec(name="x", sources=("train",), steps=6, **options)
    spec = TrainSpec(batch_size=batch, learning_rate=0.01, scale=20.0, lora_rank=4, lora_alpha=8, **train_options)
    done = train_expert(
        expert, PAIRS, {}, backbone=backbone, train=spec, start=None, query_prefix="", passage_prefix="", seed=3,
        folder=folder,
    )  # fmt: skip
    return done.losses


def _train_beside(rank: int, folder: str, backbone: BackboneSpec, port: int) -> None:
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in here.items()}
    torch.set_num_threads(1)
    losses = {
        "gathered": train(backbone, Path(folder) / f"gathered-{rank}", 3, GATHERED),
        "apart": train(backbone, Path(folder) / f"apart-{rank}", 3, {}, gather=False),
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(losses))
    torch.distributed.destroy_process_group()


def test_two_processes_have_the_losses_of_one_at_the_same_global_batch(backbone: BackboneSpec, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_train_beside, (str(tmp_path), backbone, port), nprocs=2)
    two = json.loads((tmp_path / "0.json").read_text())
    assert two == json.loads((tmp_path / "1.json").read_text()), "a step's loss is the mean over all processes"
    # Their negatives together are those of one batch of six.
    assert two["gathered"] == pytest.approx(train(backbone, tmp_path / "six", 6, GATHERED), abs=1e-4)
    # Without gathering they are two batches of three, as one process accumulates them.
    assert two["apart"] == pytest.approx(train(backbone, tmp_path / "twice three", 3, {}, accumulate=2), abs=1e-4)
    assert two["apart"] != pytest.approx(two["gathered"], abs=1e-2)
    assert two["gathered"][-1] < two["gathered"][0]


def job_of(backbone: BackboneSpec, cache: Path, **options: object) -> TrainingJob:
    spec = TrainSpec(batch_size=3, learning_rate=0.01, scale=20.0, lora_rank=4, lora_alpha=8, processes=2)
    return TrainingJob(expert=expert_of(steps=6, **options), train=spec, backbone=backbone, pairs=PAIRS,
        negatives={}, instruction=Instruction(), seed=3, cache=cache)  # fmt: skip


def test_a_run_trains_an_expert_in_several_processes(backbone: BackboneSpec, tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    folder.mkdir()
    job_of(backbone, tmp_path / "cache", **GATHERED).build(folder)
    report = json.loads((folder / "expert.json").read_text())
    assert (report["processes"], report["steps"]) == (2, 6)
    assert report["losses"] == pytest.approx(train(backbone, tmp_path / "six", 6, GATHERED), abs=1e-4)


def test_the_processes_of_a_training_decide_it_whoever_starts_them(
    backbone: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = job_of(backbone, tmp_path)
    alone = replace(asked, train=asked.train.model_copy(update={"processes": 1}))
    assert asked.key() != alone.key()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert replace(alone, seed=3).key() == asked.key()


@pytest.mark.parametrize(
    "error", [OutOfMemory("what happened"), CheckFailed("loss", 1.5, "what happened"), ExecutionError("what happened")]
)
def test_what_stopped_a_process_reaches_the_run_as_what_it_is(error: StmAgentError, tmp_path: Path) -> None:
    raise_fault(tmp_path, 2, 0)
    (tmp_path / "log.txt").write_text("starting\nRuntimeError: no port is free\nbye\n")
    with pytest.raises(BackboneError, match=r"status 7: RuntimeError: no port is free; try train: processes: 1"):
        raise_fault(tmp_path, 2, 7)
    write_fault(tmp_path, 1, error)
    with pytest.raises(type(error), match="what happened") as raised:
        raise_fault(tmp_path, 2, 1)
    assert str(raised.value) == str(error)
    assert vars(raised.value) == vars(error)


def test_a_step_that_accumulates_has_the_mean_loss_of_its_batches(backbone: BackboneSpec, tmp_path: Path) -> None:
    # The learning rate rises from 0, so the first step changes nothing and two losses are of the same weights.
    single = train(backbone, tmp_path / "single", 3, {}, warmup_steps=2)
    double = train(backbone, tmp_path / "double", 3, {}, warmup_steps=2, accumulate=2)
    assert len(single) == len(double) == 6
    assert double[0] == pytest.approx((single[0] + single[1]) / 2, abs=1e-5)


def rows_of(count: int) -> Rows:
    names = [str(number) for number in range(count)]
    return Rows(columns={"query": names, "positive": names}, groups=names, skipped={}, sources=["train"] * count)


def expert_of(**options: object) -> ExpertSpec:
    return ExpertSpec(name="x", sources=("train",), **{"steps": 1000, **options})


def test_epochs_end_training_before_the_steps_do(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, train_spec = rows_of(100), TrainSpec(batch_size=8)
    assert within_epochs(expert_of(), train_spec, rows).steps == 1000
    assert within_epochs(expert_of(epochs=1), train_spec, rows).steps == 13
    assert within_epochs(expert_of(epochs=2.5), train_spec, rows).steps == 32
    assert within_epochs(expert_of(epochs=2.5, steps=20), train_spec, rows).steps == 20
    assert within_epochs(expert_of(epochs=2, batch_size=25), train_spec, rows).steps == 8
    assert within_epochs(expert_of(epochs=1), TrainSpec(batch_size=8, accumulate=4), rows).steps == 4
    assert within_epochs(expert_of(epochs=1, batch_size=300), train_spec, rows).steps == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert within_epochs(expert_of(epochs=1), train_spec, rows).steps == 7


def test_warm_up_in_steps_takes_the_place_of_its_share(caplog: pytest.LogCaptureFixture) -> None:
    assert warmup_steps(TrainSpec(warmup=0.25), 101) == 26
    assert warmup_steps(TrainSpec(warmup_steps=100), 1000) == 100
    assert warmup_steps(TrainSpec(warmup_steps=0), 1000) == 0
    assert warmup_steps(TrainSpec(), 1) == 0, "a rate that only rises ended in a division by zero"
    assert warmup_steps(TrainSpec(warmup_steps=40), 40) == 39
    assert caplog.records == []
    assert warmup_steps(TrainSpec(warmup_steps=100), 40) == 100
    assert "rises for 100 steps and training has 40" in caplog.text
    with pytest.raises(ValidationError, match="keep one"):
        TrainSpec(warmup=0.2, warmup_steps=10)


@pytest.mark.parametrize(("rank", "count"), [(0, 1), (0, 2), (1, 2)])
def test_other_rows_hard_negatives_are_left_out(rank: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(count))
    rows, columns = 3, 3
    whole = rows * count
    queries, passages = torch.randn(rows, 5), torch.randn(whole * columns, 5)
    scores = own_negatives_alone(queries, passages, gather=True)
    cosines = torch.nn.functional.cosine_similarity(queries[:, None], passages[None], dim=2)
    for row in range(rows):
        own = row + rows * rank
        stays = {*range(whole), own + whole, own + 2 * whole}
        for column in range(whole * columns):
            expected = cosines[row, column].item() if column in stays else float("-inf")
            assert scores[row, column].item() == pytest.approx(expected, abs=1e-5)


def test_negatives_that_are_not_shared_need_a_loss_that_can_leave_them_out() -> None:
    own = NegativeSpec(structural=2, shared=False)
    assert expert_of(negatives=own).negatives.of_structure() == own
    with pytest.raises(ValidationError, match="shared: false needs loss infonce, not cached-infonce"):
        expert_of(negatives=own, loss="cached-infonce")


def test_processes_share_batches_without_a_common_group(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [f"g{row // 2}" for row in range(40)]
    plan = SharedBatches(GroupedBatches(groups, [(str(row),) for row in range(40)], 9, 10, seed=0), 2)
    parts = list(plan)
    assert len(parts) == len(plan) == 20
    for first, second in zip(parts[::2], parts[1::2], strict=True):
        assert len(first) == len(second) == plan.size == 4
        assert len({groups[row] for row in (*first, *second)}) == 8
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(DataError, match="fewer groups of pairs than processes"):
        plan_batches(rows_of(5), expert_of(), TrainSpec(batch_size=2), 0)


@pytest.mark.parametrize("way", ["FSDP", "DEEPSPEED"])
def test_a_backbone_in_pieces_is_refused_with_the_reason(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{way}", "true")
    with pytest.raises(
        ConfigError, match=f"{way} is not supported: it cuts a backbone into pieces.*--use_{way.lower()}"
    ):
        processes()
