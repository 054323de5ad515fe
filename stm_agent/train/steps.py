"""How many steps a training takes, and in how many of them the learning rate rises."""

from __future__ import annotations

import logging
import math

from stm_agent.domain.spec import ExpertSpec, TrainSpec
from stm_agent.train.data import Rows
from stm_agent.train.processes import processes

logger = logging.getLogger(__name__)


def within_epochs(expert: ExpertSpec, train: TrainSpec, rows: Rows) -> ExpertSpec:
    """Return the expert with the steps that its epochs allow: one pass takes its pairs over the pairs of a step."""
    if expert.epochs is None:
        return expert
    batch = min(expert.batch_size or train.batch_size, len(set(rows.groups)))
    steps = max(1, math.ceil(expert.epochs * len(rows) / (batch * train.accumulate * processes().count)))
    return expert.model_copy(update={"steps": min(expert.steps, steps)})


def warmup_steps(train: TrainSpec, steps: int) -> int:
    """Return the steps in which the learning rate rises; warn if there are more of them than steps."""
    asked = math.ceil(train.warmup * steps) if train.warmup_steps is None else train.warmup_steps
    if asked > steps:
        logger.warning(
            "the learning rate rises for %d steps and training has %d: it never reaches its peak; lower warmup_steps",
            asked,
            steps,
        )
    # After the last step, transformers' schedule divides by the number of steps in which the rate falls.
    return steps - 1 if asked == steps else asked
