"""Weights that serve held-out queries best are kept, and no row of the bag, or near it, is held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stm_agent.domain.spec import ExpertSpec
from stm_agent.files import read_json
from stm_agent.train.early_stopping import CHECKS, HELD_ROWS, BestWeights, held_out


def test_what_shares_a_passage_with_the_bag_is_not_held_out() -> None:
    positives = [(0,), (0, 1), (1,), (2,), (3,)]
    assert held_out(positives, [0, 3, 3]) == [2, 4], "row 1 shares passage 0 with row 0, row 2 only with row 1"
    assert held_out(positives, range(5)) == []
    assert len(held_out([(number,) for number in range(1000)], [0])) == HELD_ROWS


def kept(losses: list[list[float]], steps: int = 16) -> tuple[int, list[float]]:
    """Return the step that is kept and the weights, which count the steps, of a training with these losses."""
    weight, checks = torch.zeros(2, requires_grad=True), iter(losses)
    best = BestWeights([weight], steps, lambda: next(checks))
    for step in range(1, steps + 1):
        weight.data += 1
        best.after(step)
    assert len(best.losses) == len(losses)
    best.restore()
    return best.step, weight.tolist()


def test_clearly_better_weights_come_back() -> None:
    losses = [[3.0, 2.0, 4.0], [1.0, 0.5, 1.5], *([[2.0, 1.6, 2.5]] * 6)]
    assert kept(losses) == (4, [4.0, 4.0])


def test_weights_that_are_better_by_chance_do_not() -> None:
    losses = [*([[3.0, 2.0, 4.0]] * 3), [1.0, 2.6, 2.0], *([[2.0, 2.0, 2.0]] * 4)]
    assert kept(losses) == (16, [16.0, 16.0])


def test_without_held_out_rows_the_last_weights_stay() -> None:
    weight = torch.zeros(1, requires_grad=True)
    best = BestWeights([weight], 4, None)
    weight.data += 1
    best.after(4)
    best.restore()
    assert (best.step, weight.item(), best.losses) == (4, 1.0, {})


@pytest.mark.parametrize("bag", [True, False])
def test_an_expert_of_a_bag_stops_where_queries_out_of_it_are_served_best(backbone, tmp_path: Path, bag: bool) -> None:
    from tests.train.conftest import query_side_job

    expert = ExpertSpec(name="q", sources=("train",), side="query", steps=48, learning_rate=0.02, bag=bag)
    job = query_side_job(backbone, tmp_path / "cache", expert)
    job.build(tmp_path)
    trained = read_json(tmp_path / "expert.json")
    held = {int(step): loss for step, loss in trained["held_out"].items()}
    if not bag:
        assert (held, trained["kept_step"]) == ({}, 48), "it learns from all pairs"
        return
    assert len(held) == CHECKS
    assert trained["kept_step"] in (min(held, key=held.__getitem__), 48)
    assert "early stopping" in job.inputs()
    assert "early stopping" not in replace(job, expert=job.expert.model_copy(update={"bag": False})).inputs()
