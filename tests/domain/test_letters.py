"""Words of every script, in BM25 and in comparisons."""

from __future__ import annotations

import unicodedata

import pytest

from stm_agent.domain.keywords import keywords
from stm_agent.domain.letters import canonical
from stm_agent.domain.text import normalise, words_of
from stm_agent.evaluate.bm25 import Bm25Index


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("résumé détaillé", unicodedata.normalize("NFD", "Résumé détaillé")),
        ("שלום", "שָׁלוֹם"),
        ("محمد", "مُحَمَّد"),
        ("مدرسة", "مدرســـة"),
        ("istanbul", "İstanbul"),
        ("cooperate", "co\u00adoperate"),
        ("한국어", unicodedata.normalize("NFD", "한국어")),
    ],
)
def test_two_spellings_of_a_word_meet(first: str, second: str) -> None:
    assert keywords([first]) == keywords([second])
    assert normalise(first) == normalise(second)
    assert [key for key, _ in Bm25Index({"a": second, "b": "other text"}).search([first], 2)[0]] == ["a"]


def test_vowel_signs_belong_to_their_word() -> None:
    assert keywords(["घुटने में दर्द"]) == [["घुटने", "में", "दर्द"]]
    assert normalise("का") != normalise("की")
    assert words_of("घुटने में") == {"घुटने", "में"}


def test_words_of_ascii_are_those_of_bm25s() -> None:
    import bm25s
    import Stemmer

    text = "A b's word-list, x_1 3.14 the C++ I/O: Running runners' 10-20 'quoted'"
    wanted = bm25s.tokenize(
        [text], stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False, return_ids=False
    )
    assert keywords([text]) == wanted
    accented = "Naïve café d'été, 5 °C"
    wanted = bm25s.tokenize(
        [accented], stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False, return_ids=False
    )
    assert keywords([accented]) == wanted


@pytest.mark.parametrize(
    "texts",
    [
        ("a pointer in C", "a pointer in C++", "a pointer in C#", "a pointer in C+"),
        ("store at 5 °C", "store at -5 °C"),
        ("p < 0.05", "p > 0.05", "p = 0.05"),
        ("HER2 status", "HER2+ status"),
        ("🩺", "🦷", "?", ""),
        ("C++11", "C11", "C 11"),
    ],
)
def test_symbols_that_change_the_meaning_stay(texts: tuple[str, ...]) -> None:
    assert len({normalise(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("COVID-19, again?", "covid 19 again"),
        ("What is C++?", "what is c++"),
        ("pages 10-20", "pages 10 20"),
        ("at \u22125 °C", "at -5°C"),
        ("2020-01-05", "2020 01 05"),
    ],
)
def test_punctuation_does_not_matter(first: str, second: str) -> None:
    assert normalise(first) == normalise(second)


def test_texts_without_spaces_are_compared_by_letters() -> None:
    assert words_of("发烧怎么办") == {"发烧", "烧怎", "怎么", "么办"}
    assert canonical("plain") == "plain"
