"""Comparisons and draws that training data depends on: their values are fixed."""

from __future__ import annotations

from stm_agent.domain.text import draw, fold, is_near_duplicate, normalise, share, words_of


def test_equal_texts_compare_equal():
    assert normalise("  The knee, hurts!") == normalise("the KNEE hurts") == "the knee hurts"
    assert fold("The  knee,\nhurts!") == "the knee, hurts!"


def test_draws_never_change():
    """Another value here would make other splits and other training data of the same collection."""
    assert [share(text) for text in ("", "a", "dev:q1")] == [0.6549, 0.3499, 0.8782]
    assert [draw(text, 7) for text in ("", "a", "dev:q1")] == [1, 2, 1]
    assert [draw("a", 3, offset=offset) for offset in range(4)] == [2, 0, 1, 2]


def test_four_words_of_five_are_the_same_text():
    words = words_of("a b c d e")
    assert is_near_duplicate(words, words_of("A, B, C, D"))
    assert not is_near_duplicate(words, words_of("a b c"))
    assert is_near_duplicate(words_of(""), words_of("?"))
