"""Near-duplicates among many texts, by MinHash: 100,000 passages in seconds, in time linear in the words.

Broder 1997, "On the resemblance and containment of documents"; the bands are those of Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3. What shares a band is a candidate; each is verified by the exact rule of
:func:`~stm_agent.domain.text.is_near_duplicate`. So no pair that is reported is wrong, and of pairs at the limit of
0.8 about one in fifty is missed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.text import is_near_duplicate, words_of

BANDS, ROWS = 8, 4
"""A pair of similarity s shares one of the bands with probability 1 - (1 - s^4)^8: 0.98 for 0.8, 0.40 for 0.5."""
CANDIDATES = 10
"""Texts of one band that a text is compared with, at most; boilerplate would make every pair a candidate."""

_MIX = np.uint64(0x9E3779B97F4A7C15)


def near_duplicates(texts: Sequence[str]) -> dict[int, int]:
    """Return for each text that nearly repeats an earlier one the position of that one.

    Args:
        texts: The texts. Those without a word are left out.
    """
    words = [words_of(text) for text in texts]
    return _matches(words, range(len(words)), within=True)


def near_matches(texts: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Return for each of ``texts`` that is nearly one of ``others`` the position of that one in ``others``."""
    words = [words_of(text) for text in (*others, *texts)]
    found = _matches(words, range(len(others), len(words)), within=False)
    return {position - len(others): other for position, other in found.items()}


def _matches(words: Sequence[frozenset[str]], wanted: range, *, within: bool) -> dict[int, int]:
    """Return the first verified partner of each wanted text, among earlier texts or among those not wanted."""
    matches: dict[int, int] = {}
    filled = [position for position, row in enumerate(words) if row]
    for band in _bands([words[position] for position in filled]):
        buckets: dict[int, list[int]] = {}
        for key, position in zip(band.tolist(), filled, strict=True):
            bucket = buckets.setdefault(key, [])
            if position in wanted and position not in matches:
                partner = next((other for other in bucket if is_near_duplicate(words[position], words[other])), None)
                if partner is not None:
                    matches[position] = partner
            if (within or position not in wanted) and len(bucket) < CANDIDATES:
                bucket.append(position)
    return matches


def _bands(words: Sequence[frozenset[str]]) -> Iterator[NDArray[np.uint64]]:
    """Yield for each band a key of every text; equal keys: the smallest hashes of the band are equal."""
    if not words:
        return
    numbers: dict[str, int] = {}
    flat = np.fromiter((numbers.setdefault(word, len(numbers)) for row in words for word in row), np.int64)
    starts = np.cumsum([0, *(len(row) for row in words[:-1])])
    # A hash of the word itself: sets and Python's own hashes have another order in each process.
    base = np.fromiter((zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in numbers), np.uint64)
    draws = np.random.default_rng(0)
    for _ in range(BANDS):
        key = np.zeros(len(words), dtype=np.uint64)
        for _ in range(ROWS):
            factor, shift = draws.integers(1, 2**63, 2, dtype=np.uint64)
            mixed = base * (factor | np.uint64(1)) + shift
            hashes = (mixed ^ (mixed >> np.uint64(32))) * _MIX
            key = key * _MIX + np.minimum.reduceat(hashes[flat], starts)
        yield key
