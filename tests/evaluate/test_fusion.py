"""A dense and a lexical ranking, fused with a weight that judged queries choose."""

from __future__ import annotations

import pytest

from stm_agent.evaluate.fusion import choose_weight, fuse
from stm_agent.evaluate.metrics import score

DENSE = {"q": {"a": 0.9, "b": 0.8, "c": 0.1}}
LEXICAL = {"q": {"b": 12.0, "d": 3.0}}


def test_the_ends_of_the_weight_are_the_two_rankings():
    dense, lexical = (fuse(DENSE, LEXICAL, weight)["q"] for weight in (0.0, 1.0))
    assert sorted(dense, key=dense.__getitem__, reverse=True)[:2] == ["a", "b"]
    assert max(lexical, key=lexical.__getitem__) == "b"


def test_scores_are_scaled_for_each_query():
    fused = fuse(DENSE, LEXICAL, 0.5)["q"]
    assert fused["b"] == pytest.approx(0.5 * (0.8 - 0.1) / 0.8 + 0.5)
    assert fused["d"] == 0.0, "the last of one run, absent from the other"


def test_a_query_that_a_run_lacks_keeps_the_other_ranking():
    assert fuse(DENSE, {}, 0.5)["q"]["a"] == 0.5


def test_the_chosen_weight_is_at_least_as_good_as_either_ranking():
    qrels = {"q": {"b": 1}, "r": {"x": 1}}
    dense = {**DENSE, "r": {"x": 0.9, "y": 0.1}}
    lexical = {**LEXICAL, "r": {"y": 5.0, "x": 1.0}}
    weight, scores = choose_weight(dense, lexical, qrels)
    assert 0 < weight < 1
    assert scores.ndcg_at_10 == 1.0 > max(score(dense, qrels).ndcg_at_10, score(lexical, qrels).ndcg_at_10)


def test_of_equal_weights_the_smallest_is_chosen():
    assert choose_weight({"q": {"a": 1.0}}, {}, {"q": {"a": 1}})[0] == 0.0
