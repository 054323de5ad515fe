"""Written queries are rated without training: a round trip, and words that the passage does not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from stm_agent.domain.data import Pair
from stm_agent.synthesize.feedback import USUAL_OVERLAP, QueryRater, overlap, unusable

ANIMALS = (
    *("cat", "dog", "owl", "fox", "bee", "ant", "cow", "hen", "elk", "eel", "gnu", "yak"),
    *("emu", "ape", "bat", "cod", "jay", "kid", "pig", "pug", "ram", "rat", "roe", "tit"),
)
POOL = {name: f"The {name} sleeps in a warm nest during winter and eats roots." for name in ANIMALS}


def encode(texts: Sequence[str]) -> np.ndarray:
    """Know every animal, also by the word "pet-" in front of it."""
    vectors = np.full((len(texts), len(ANIMALS)), 1e-3, np.float32)
    for row, text in enumerate(texts):
        for column, name in enumerate(ANIMALS):
            vectors[row, column] += f"pet-{name}" in text or f" {name} " in f" {text.lower()} "
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rater(people: Sequence[Pair] = ()) -> QueryRater:
    return QueryRater(POOL, encode, encode(list(POOL.values())), people)


def test_a_query_that_finds_its_passage_by_other_words_is_rated_above_a_copy():
    other, copy = rater().rate([("owl", "where does my pet-owl rest"), ("owl", "owl sleeps in a warm nest eats roots")])
    assert other.round_trip and copy.round_trip
    assert other.score > copy.score
    assert "use other words" in copy.feedback


def test_a_query_that_fits_every_passage_has_not_found_its_own():
    for name in ("cat", "tit"):
        (general,) = rater().rate([(name, "sleeps during winter")])
        assert (general.round_trip, general.score) == (False, 0.0)
        assert "too general" in general.feedback


def test_a_query_about_another_passage_is_worth_less():
    right, wrong = rater().rate([("owl", "food of a pet-owl"), ("yak", "food of a pet-owl")])
    assert right.score > wrong.score


def test_queries_of_people_say_how_many_shared_words_are_usual():
    people = [Pair("p", "owl nest winter", POOL["owl"], "train", "owl")]
    assert rater(people).usual_overlap == 1.0
    assert rater().usual_overlap == USUAL_OVERLAP
    (query,) = rater(people).rate([("owl", "owl nest winter")])
    assert "use other words" not in query.feedback


def test_overlap_counts_stems_and_no_stop_words():
    assert overlap("the sleeping owls", POOL["owl"]) == 1.0
    assert overlap("the of and", POOL["owl"]) == 0.0


@pytest.mark.parametrize("reason", ["refusal", "repeats its input"])
def test_a_text_that_cannot_be_used_is_worth_nothing_and_says_why(reason: str):
    assert (unusable(reason).score, reason in unusable(reason).feedback) == (0.0, True)


def test_nothing_written_is_rated_as_nothing():
    assert rater().rate([]) == []
