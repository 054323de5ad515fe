"""Which rows of the training data make a batch, for all steps of an expert."""

from __future__ import annotations

from collections.abc import Sequence

from stm_agent.domain.spec import ExpertSpec, TrainSpec
from stm_agent.errors import DataError
from stm_agent.train.batches import GroupedBatches, OneSourceBatches, SharedBatches
from stm_agent.train.data import Rows
from stm_agent.train.processes import gathers, processes

Batches = GroupedBatches | OneSourceBatches | SharedBatches


def plan_batches(rows: Rows, expert: ExpertSpec, train: TrainSpec, seed: int) -> Batches:
    """Return the batches an expert is trained on; the same seed gives the same batches.

    If several processes train together, each takes its share, so that a step has ``train.accumulate`` batches of each
    process. If their negatives are gathered, those of one moment are cut from one large batch.

    Raises:
        DataError: Every batch is to be of one source, and a source has fewer groups than a batch has rows.
    """
    size, count = expert.batch_size or train.batch_size, processes().count
    batches = expert.steps * train.accumulate
    if not gathers(expert, train):
        return _plan(rows, expert.model_copy(update={"steps": batches * count}), size, seed)
    if len(set(rows.groups)) < count:
        raise DataError(f"expert {expert.name} has fewer groups of pairs than processes; launch fewer of them")
    return SharedBatches(_plan(rows, expert.model_copy(update={"steps": batches}), size * count, seed), count)


def _plan(rows: Rows, expert: ExpertSpec, size: int, seed: int) -> GroupedBatches | OneSourceBatches:
    weights = [expert.source_weights.get(source, 1.0) for source in rows.sources]
    if not expert.one_source_batches:
        return _grouped(rows, range(len(rows)), expert, size, seed, weights if expert.source_weights else [])
    parts = []
    for number, source in enumerate(dict.fromkeys(rows.sources)):
        own = [row for row, name in enumerate(rows.sources) if name == source]
        groups = len({rows.groups[row] for row in own})
        if groups < size:
            raise DataError(
                f"expert {expert.name}: source {source} has {groups} groups, a batch of one source needs {size}; "
                f"lower batch_size or drop one_source_batches"
            )
        # The source of a batch is drawn by weight, so within a source every row has the same weight.
        parts.append((_all_copies(own, rows), _grouped(rows, own, expert, size, seed + number, []), weights[own[0]]))
    return OneSourceBatches([(own, batches, weight * len(own)) for own, batches, weight in parts], expert.steps, seed)


def _grouped(
    rows: Rows, own: Sequence[int], expert: ExpertSpec, size: int, seed: int, weights: Sequence[float]
) -> GroupedBatches:
    texts = rows.texts()
    positions = {row: position for position, row in enumerate(own)}
    near = [
        [positions[row] for row in rows.neighbours[own_row] if row in positions] for own_row in own if rows.neighbours
    ]
    return GroupedBatches(
        [rows.groups[row] for row in own],
        [texts[row] for row in own],
        size,
        expert.steps,
        seed,
        neighbours=near,
        joining=expert.neighbours,
        copies=rows.copies,
        weights=weights,
    )


def _all_copies(own: Sequence[int], rows: Rows) -> list[int]:
    return [row + len(rows) * copy for copy in range(rows.copies) for row in own]
