"""Scores that a user's triplets carry are learnt from, or the run says that they are not."""

from __future__ import annotations

import pytest

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec, TeacherSpec
from stm_agent.mine.own_scores import own_lists, unused_scores

SCORED = Pair("1", "q", "p", "own", "g", structural=("n", "m"), scores=(9.0, 5.0, 1.0))
MARGINS = Pair("2", "q", "p", "own", "g", structural=("n",), scores=(0.0, -3.0))
PLAIN = Pair("3", "q", "p", "train", "h")


def expert(loss: str, *sources: str) -> ExpertSpec:
    return ExpertSpec.model_validate({"name": loss, "sources": sources, "steps": 1, "loss": loss})


def test_scores_become_a_list_between_0_and_1() -> None:
    lists = own_lists([SCORED, MARGINS, PLAIN], TeacherSpec())
    assert lists.keys() == {"1", "2"}
    row = lists["1"]
    assert row.positive == 1.0
    assert [(candidate.text, candidate.score) for candidate in row.candidates] == [("n", 0.5), ("m", 0.0)]
    assert (lists["2"].positive, lists["2"].candidates[0].score) == (1.0, 0.0)


def test_scores_stay_as_they_are_if_the_domain_says_so() -> None:
    row = own_lists([SCORED], TeacherSpec(rescale="none"))["1"]
    assert (row.positive, row.candidates[1].score) == (9.0, 1.0)


def test_equal_scores_are_no_division_by_zero() -> None:
    same = Pair("1", "q", "p", "own", "g", structural=("n",), scores=(2.0, 2.0))
    assert own_lists([same], TeacherSpec())["1"].positive == 0.0


@pytest.mark.parametrize(("loss", "unused"), [("infonce", True), ("distil", False)])
def test_scores_that_no_expert_learns_from_are_told(loss: str, unused: bool) -> None:
    line = unused_scores([expert(loss, "own", "train")], [SCORED, MARGINS, PLAIN])
    assert bool(line) == unused
    if unused:
        assert line.startswith("2 pairs of source own carry scores that no expert learns from")


def test_a_source_that_is_not_trained_on_is_not_told() -> None:
    assert unused_scores([expert("infonce", "train")], [SCORED]) == ""
