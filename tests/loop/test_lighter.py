"""What a training that did not fit the memory tries next."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.loop.training import lighter
from stm_agent.train.job import TrainingJob


def job(train: TrainSpec, **options: Any) -> TrainingJob:
    return TrainingJob(
        expert=ExpertSpec(name="e", sources=("train",), steps=9, **options),
        train=train,
        backbone=BackboneSpec(model="none"),
        pairs=(),
        negatives={},
        lists={},
        instruction=Instruction(),
        prompts=(),
        start=None,
        seed=0,
        dev=None,
        cache=Path(),
    )


def ladder(first: TrainingJob) -> list[tuple[str, int, int]]:
    """Return loss, batch and texts of one forward, from the first job to the last that is tried."""
    steps, current = [], first
    while current is not None:
        steps.append(
            (current.expert.loss, current.expert.batch_size or current.train.batch_size, current.train.mini_batch)
        )
        current, _ = lighter(current)
    return steps


def test_the_papers_batch_is_first_computed_in_parts() -> None:
    tried = ladder(job(TrainSpec(batch_size=256)))
    assert tried[:4] == [
        ("infonce", 256, 32),
        ("cached-infonce", 256, 32),
        ("cached-infonce", 128, 16),
        ("cached-infonce", 64, 8),
    ]
    assert tried[-1] == ("cached-infonce", 2, 1)
    assert all(later[1] <= earlier[1] for earlier, later in pairwise(tried))


def test_losses_that_have_no_cached_form_only_halve() -> None:
    aliased = ladder(job(TrainSpec(batch_size=8), alias_weight=0.5))
    assert aliased == [("infonce", 8, 32), ("infonce", 4, 16), ("infonce", 2, 8)]
    recomputing = ladder(job(TrainSpec(batch_size=8, gradient_checkpointing=True)))
    assert {loss for loss, _, _ in recomputing} == {"infonce"}
    assert ladder(job(TrainSpec(batch_size=8), loss="distil"))[1][:2] == ("distil", 4)
