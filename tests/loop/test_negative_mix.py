"""Which negatives an expert gets: written ones first, or mixed with mined ones by a share."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec, NegativeSpec
from stm_agent.loop.training_data import TrainingData, negative_kinds
from stm_agent.mine.negatives import Negative

PAIRS = [Pair(str(n), f"query {n}", f"passage {n}", "s", str(n)) for n in range(200)]
MINED = {pair.id: (Negative(f"near {pair.id}", "bm25"), Negative(f"next {pair.id}", "bm25")) for pair in PAIRS}
WRITTEN = {
    pair.id: (Negative(f"made {pair.id}", "synthetic"), Negative(f"more {pair.id}", "synthetic")) for pair in PAIRS
}


def kinds(data: TrainingData, **negatives: object) -> dict[str, int]:
    spec = ExpertSpec(name="e", sources=("s",), steps=1, negatives=NegativeSpec.model_validate(negatives))
    return negative_kinds(data.for_expert(spec, PAIRS))


def test_without_a_share_written_ones_come_first_and_mined_ones_fill() -> None:
    few = TrainingData(mined=MINED, synthetic=dict(list(WRITTEN.items())[:50]))
    assert kinds(few, synthetic=1) == {"synthetic": 50, "bm25": 150}
    assert kinds(few, synthetic=1, mined=1) == {"synthetic": 50, "bm25": 350}


def test_a_share_mixes_both_kinds_for_each_pair() -> None:
    data = TrainingData(mined=MINED, synthetic=WRITTEN)
    counted = Counter(kinds(data, synthetic=1, mined=1, synthetic_share=0.25))
    assert counted.total() == 400
    assert 60 <= counted["synthetic"] <= 140
    assert kinds(data, synthetic=1, synthetic_share=1.0) == {"synthetic": 200}


def test_a_pair_without_the_drawn_kind_gets_the_other() -> None:
    few = TrainingData(mined=MINED, synthetic=dict(list(WRITTEN.items())[:10]))
    assert kinds(few, synthetic=1, synthetic_share=1.0) == {"synthetic": 10, "bm25": 190}


def test_a_share_without_written_negatives_is_refused() -> None:
    with pytest.raises(ValidationError, match="ask for some synthetic"):
        NegativeSpec(mined=1, synthetic_share=0.5)
