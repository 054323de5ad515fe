"""All-in-one is a fair control: its draw over sources and its steps are those of the experts together."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from stm_agent.domain.spec import ExpertSpec
from stm_agent.loop.controls import source_draws
from stm_agent.train.batches import GroupedBatches

PAIRS = {"lay": 200, "clinical": 1000}
EXPERTS = [
    ExpertSpec(name="lay", sources=("lay",), steps=350),
    ExpertSpec(name="clinical", sources=("clinical",), steps=20, batch_size=16),
]


def test_a_source_is_drawn_as_often_as_by_the_experts():
    assert source_draws(EXPERTS, PAIRS, batch=32) == {"lay": 350 * 32, "clinical": 20 * 16}


def test_an_expert_on_several_sources_draws_by_pairs_and_weights():
    mixed = ExpertSpec(name="mixed", sources=("lay", "clinical"), steps=10, source_weights={"lay": 5.0})
    assert source_draws([mixed], PAIRS, batch=32) == pytest.approx({"lay": 160, "clinical": 160})


def test_a_source_without_pairs_is_not_drawn():
    written = ExpertSpec(name="written", sources=("written",), steps=10)
    assert source_draws([*EXPERTS, written], {**PAIRS, "written": 0}, batch=32).keys() == PAIRS.keys()


def test_the_batches_of_the_control_have_the_experts_mix():
    draws = source_draws(EXPERTS, PAIRS, batch=32)
    rows = [source for source, count in PAIRS.items() for _ in range(count)]
    weights = [draws[source] / PAIRS[source] for source in rows]
    names = [str(number) for number in range(len(rows))]
    batches = GroupedBatches(names, [[name] for name in names], 32, 370, seed=0, weights=weights)
    drawn = Counter(rows[row] for batch in islice(batches, 370) for row in batch)
    assert drawn["lay"] / drawn.total() == pytest.approx(draws["lay"] / sum(draws.values()), abs=0.02)
