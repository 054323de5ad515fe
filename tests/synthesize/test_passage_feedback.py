"""Written passages are rated without training: a negative is near the query and is not its answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from stm_agent.domain.data import Pair
from stm_agent.llm.checking import copied_share, is_copied
from stm_agent.synthesize.feedback import Rating, judged
from stm_agent.synthesize.judge import Judgement
from stm_agent.synthesize.passage_feedback import DOUBTFUL_SCORE, PassageRater

WORDS = ("gout", "acid", "joint", "cause", "diet", "court", "case")
PAIR = Pair("p", "gout cause", "gout cause acid", "train", "g")
OTHERS = ("court case", "case", "court diet")


def encode(texts: Sequence[str]) -> np.ndarray:
    vectors = np.array([[float(word in text.split()) for word in WORDS] for text in texts], np.float32) + 1e-3
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def rater() -> PassageRater:
    return PassageRater(encode, encode, OTHERS)


def test_a_negative_is_worth_what_it_is_near_and_nothing_if_it_may_answer(rater: PassageRater) -> None:
    hard = rater.negative(PAIR, "gout diet", "gout diet joint cause")
    easy = rater.negative(PAIR, "", "court case")
    answer = rater.negative(PAIR, "", "gout cause")
    assert hard.score > easy.score == 0.0
    assert "too easy" in easy.feedback
    assert "the mined passage" in hard.feedback
    assert answer.score == DOUBTFUL_SCORE
    assert "probably answers the query" in answer.feedback


def test_a_judge_overrules_the_encoder(rater: PassageRater) -> None:
    near = "gout cause"
    assert rater.negative(PAIR, "", near, Judgement(0, "another disease")).score == 1.0
    refused = rater.negative(PAIR, "", near, Judgement(3, "it answers"))
    assert refused.score == 0.0
    assert "a judge: grade 3, wanted 0 (it answers)" in refused.feedback
    rating = Rating(score=0.8, round_trip=True, overlap=0.0, feedback="rank 1")
    assert judged(rating, Judgement(3, ""), wanted=3).score == 0.8
    assert judged(rating, Judgement(0, "no"), wanted=3).score == 0.0
    assert judged(rating, None, wanted=3) == rating


def test_graded_passages_are_worth_their_order(rater: PassageRater) -> None:
    right = {2: "gout cause diet joint", 1: "gout diet joint", 0: "court case"}
    wrong = {2: "court case", 1: "gout diet joint", 0: "gout cause diet joint"}
    assert rater.graded(PAIR, right, {}).score == 1.0 > rater.graded(PAIR, wrong, {}).score
    assert rater.graded(PAIR, {0: "court case"}, {}).score == pytest.approx(1 / 6), "what lacks is out of order"
    grades = {level: Judgement(level, "") for level in right}
    assert rater.graded(PAIR, right, grades).score == 1.0
    assert rater.graded(PAIR, right, {**grades, 0: Judgement(3, "")}).score < 1.0


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("warm nest during winter", True),
        ("in a warm nest during winter, perhaps", True),
        ("where do owls sleep when it is cold", False),
        ("warm nest", False),
        ("", False),
    ],
)
def test_a_text_that_is_one_run_of_its_passage_is_called_copied(text: str, copied: bool) -> None:
    passage = "The owl sleeps in a warm nest during winter and eats roots."
    assert is_copied(text, passage) is copied
    assert 0.0 <= copied_share(text, passage) <= 1.0
