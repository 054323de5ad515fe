"""How texts are compared, and fixed draws made from them: the one place for both.

Training data depends on every function here, so a change of one makes other pairs, splits and negatives.
"""

from __future__ import annotations

import re

from stm_agent.files import sha256_text

NEAR_DUPLICATE = 0.8
"""Jaccard similarity of two texts' words from which they count as the same text."""


def normalise(text: str) -> str:
    """Return ``text`` in lower case with every run of non-word characters as one space: equal texts compare equal."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def fold(text: str) -> str:
    """Return ``text`` in lower case with single spaces; unlike :func:`normalise` it keeps punctuation."""
    return " ".join(text.lower().split())


def words_of(text: str) -> frozenset[str]:
    """Return the distinct normalised words of a text."""
    return frozenset(normalise(text).split())


def is_near_duplicate(first: frozenset[str], second: frozenset[str]) -> bool:
    """Return whether two texts, given by :func:`words_of`, are nearly the same; two texts without words are."""
    return len(first & second) >= NEAR_DUPLICATE * len(first | second)


def share(text: str) -> float:
    """Return a fixed number in [0, 1) for ``text``, the same on every machine; splits and orders are made of it."""
    return int(sha256_text(text), 16) % 10_000 / 10_000


def draw(text: str, count: int, *, offset: int = 0) -> int:
    """Return a fixed number in [0, count) for ``text``; ``offset`` is added to it, modulo ``count``."""
    return (int(sha256_text(text)[:8], 16) + offset) % count
