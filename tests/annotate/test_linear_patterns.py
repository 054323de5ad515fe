"""Text that people type takes linear time to match, or is refused because of its length."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.finding import Corpus, read_query
from stm_agent.annotate.services import filtering
from stm_agent.annotate.spelling import MARKED_WORDS, snippet, whole_word
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.testing.annotate import client, fill

HOURS = 120
"""Seconds after which a match is given up: linear patterns need milliseconds, quadratic ones hours."""
LONG = {
    "no operator": ("OPERATOR", "' ' * n + 'x'"),
    "spaces before a letter": ("NUMBER", "' ' * n + 'x'"),
    "digits before a letter": ("NUMBER", "'1' * n + 'x'"),
    "a number, spaces and a letter": ("NUMBER", "'1' + ' ' * n + 'x'"),
}


@pytest.mark.parametrize("name", LONG)
def test_a_pattern_reads_two_million_characters_in_linear_time(name):
    pattern, text = LONG[name]
    program = f"""
import re
from stm_agent.annotate.services import filtering
n = 2_000_000
re.search(filtering.{pattern}, {text})
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=HOURS)


@pytest.mark.parametrize("path", ["documents", "facets"])
def test_a_filter_of_60000_spaces_is_refused_because_of_its_length(small, path):
    fill(small)
    ada = client(small, "Ada")
    answer = ada.get(f"/projects/signs/{path}", params={"filter": " " * 60_000})
    assert answer.status_code == 422
    assert "at most 1,000 characters" in answer.json()["title"]
    many = ada.get(f"/projects/signs/{path}", params={"filter": ["year>1"] * 51})
    assert "at most 50 filters" in many.json()["title"]
    assert "at most 1,000" in ada.get(f"/projects/signs/{path}", params={"tag": "t" * 2000}).json()["title"]


def test_a_search_of_many_thousand_words_is_refused_because_of_its_length(small):
    fill(small)
    words = " ".join(f"-w{number}" for number in range(2000))
    answer = client(small, "Bo").get("/projects/signs/search", params={"q": words})
    assert answer.status_code == 422
    assert "at most 2,000 characters" in answer.json()["title"]


def test_a_snippet_marks_the_first_words_of_a_long_search():
    words = [f"{first}{second}x" for first in "abcdefgh" for second in "abcdefghijkl"]
    assert snippet(words[0], " ".join(words))["hits"] == [(0, 3)]
    assert snippet(words[MARKED_WORDS], " ".join(words))["hits"] == []


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("year>2000", ("year", ">", "2000")),
        (" a field  >=  3 ", ("a field", ">=", "3")),
        ("title~a = b", ("title", "~", "a = b")),
        ("title!=x", ("title", "!=", "x")),
        ("title=", ("title", "=", "")),
    ],
)
def test_a_filter_is_read_at_its_first_operator(text, read):
    assert filtering.read_filter(text) == read


@pytest.mark.parametrize("text", ["", "title", "=x", "  =x", "a!b=c", "!"])
def test_a_filter_without_a_field_or_an_operator_is_refused(text):
    with pytest.raises(Invalid, match="cannot be read"):
        filtering.read_filter(text)


@pytest.mark.parametrize("text", ["1", " -2.5 ", ".5", "1e3", "+7.", "1" * 200])
def test_numbers_are_numbers(text):
    assert re.match(filtering.NUMBER, text)


@pytest.mark.parametrize("text", ["", "1" * 400, "1e999", "x1", "1 2", "."])
def test_what_is_no_number_or_too_large_for_a_database_is_none(text):
    assert not re.match(filtering.NUMBER, text)


def test_each_word_that_a_search_excludes_is_compiled_once():
    words = [f"-{first}{second}" for first in "abcdefghijklmnopqrstuvwxyz" for second in "abcdefghijklmnopqrstuvw"][
        :490
    ]
    text = f"wanted {' '.join(f'x{word[1:]}x' for word in words)}"
    texts = {f"d{number}": text for number in range(3)}
    corpus = Corpus(texts, {key: {"text": text} for key in texts}, Bm25Index(texts))
    asked = read_query(f"wanted {' '.join(words)}")
    whole_word.cache_clear()
    assert len(corpus.bm25(asked, 3)) == 3
    assert whole_word.cache_info().misses == len(words)
