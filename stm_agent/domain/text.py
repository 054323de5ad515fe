"""How texts are compared, and fixed draws made from them: the one place for both.

Training data depends on every function here, so a change of one makes other pairs, splits and negatives.
"""

from __future__ import annotations

import re
from functools import cache

from stm_agent.domain.letters import bigrams, canonical, combining_marks
from stm_agent.files import sha256_text

NEAR_DUPLICATE = 0.8
"""Jaccard similarity of two texts' words from which they count as the same text."""


def normalise(text: str) -> str:
    """Return ``text`` as its words in lower case with one space between: texts that mean the same compare equal.

    Unicode forms and vowel points do not matter (:func:`~stm_agent.domain.letters.canonical`), nor does punctuation.
    Symbols that change the meaning stay: ``C``, ``C++`` and ``C#``, ``5`` and ``-5``, ``<`` and ``>`` are different. A
    text without any word is compared by its symbols.
    """
    return " ".join(_words(canonical(text).lower())) or fold(text)


def fold(text: str) -> str:
    """Return ``text`` in lower case with single spaces; unlike :func:`normalise` it keeps punctuation."""
    return " ".join(canonical(text).lower().split())


def words_of(text: str) -> frozenset[str]:
    """Return the distinct normalised words of a text; of scripts without spaces, its letter bigrams."""
    rest, pairs = bigrams(canonical(text).lower())
    return frozenset((*_words(rest), *pairs))


def _words(text: str) -> list[str]:
    found: list[str] = _pattern().findall(text.replace("\u2212", "-").replace("\u2013", "-"))
    return found


@cache
def _pattern() -> re.Pattern[str]:
    marks = combining_marks()
    # A minus belongs to a number unless it joins two words; plus and sharp belong to a word that ends with them.
    sign, suffix = rf"(?:-(?<![\w{marks})\]%]-)(?=\d))?", rf"(?:\+\+(?!\+)|(?:\+|#)(?![\w+#{marks}]))?"
    # A run of \w is fast, a class with hundreds of ranges is not.
    word = rf"{sign}\w+(?:[{marks}]+\w*)*{suffix}"
    return re.compile(rf"{word}|[<>=\u2264\u2265\u2260\u00b1\u00d7\u00f7%\u2030]")


def is_near_duplicate(first: frozenset[str], second: frozenset[str]) -> bool:
    """Return whether two texts, given by :func:`words_of`, are nearly the same; two texts without words are."""
    return len(first & second) >= NEAR_DUPLICATE * len(first | second)


def share(text: str) -> float:
    """Return a fixed number in [0, 1) for ``text``, the same on every machine; splits and orders are made of it."""
    return int(sha256_text(text), 16) % 10_000 / 10_000


def draw(text: str, count: int, *, offset: int = 0) -> int:
    """Return a fixed number in [0, count) for ``text``; ``offset`` is added to it, modulo ``count``."""
    return (int(sha256_text(text)[:8], 16) + offset) % count
