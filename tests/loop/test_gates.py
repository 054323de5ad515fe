"""A gate keeps what is better beyond doubt, and nothing else."""

from __future__ import annotations

from stm_agent.domain.spec import LoopSpec
from stm_agent.evaluate.metrics import Scores
from stm_agent.loop.gates import gate


def _scores(values: list[float]) -> Scores:
    per_query = {str(index): value for index, value in enumerate(values)}
    return Scores(sum(values) / len(values), 0.0, 0.0, per_query)


def test_clear_gain_is_kept() -> None:
    verdict = gate(_scores([0.9] * 50), _scores([0.5] * 50), LoopSpec(), 0)
    assert verdict.kept
    assert verdict.comparison.low > 0
    assert verdict.reason.startswith("kept")


def test_gain_of_one_query_is_rolled_back() -> None:
    verdict = gate(_scores([1.0] + [0.5] * 49), _scores([0.5] * 50), LoopSpec(), 0)
    assert verdict.comparison.delta > 0
    assert not verdict.kept
    assert "does not exclude 0" in verdict.reason


def test_gain_below_the_minimum_effect_is_rolled_back() -> None:
    verdict = gate(_scores([0.51] * 50), _scores([0.5] * 50), LoopSpec(min_effect=0.05), 0)
    assert not verdict.kept
    assert "minimum effect" in verdict.reason
