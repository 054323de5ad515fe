"""Near-duplicates among many texts, by MinHash: 100,000 passages in seconds, in time linear in the words.

Broder 1997, "On the resemblance and containment of documents"; the bands are those of Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3. What shares a band is a candidate; each is verified by the exact rule of
:func:`~stm_agent.domain.text.is_near_duplicate`. So no pair that is reported is wrong, and of pairs at the limit of
0.8 about one in fifty is missed.
"""

from __future__ import annotations

import zlib
from array import array
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
    table = _WordTable(texts)
    return _matches(table, range(len(table)), within=True)


def near_matches(texts: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Return for each of ``texts`` that is nearly one of ``others`` the position of that one in ``others``."""
    table = _WordTable([*others, *texts])
    found = _matches(table, range(len(others), len(table)), within=False)
    return {position - len(others): other for position, other in found.items()}


class _WordTable:
    """The distinct words of many texts as numbers, which take a tenth of the memory of sets of words."""

    def __init__(self, texts: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        flat, ends = array("i"), [0]
        for text in texts:
            flat.extend(numbers.setdefault(word, len(numbers)) for word in words_of(text))
            ends.append(len(flat))
        self.flat = np.frombuffer(flat, dtype=np.int32) if flat else np.zeros(0, dtype=np.int32)
        self.ends = ends
        # A hash of the word itself: sets and Python's own hashes have another order in each process.
        hashes = (zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in numbers)
        self.hashes = np.fromiter(hashes, np.uint64, len(numbers))
        self.filled = [position for position in range(len(texts)) if ends[position] < ends[position + 1]]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def words(self, position: int) -> frozenset[str]:
        """Return the words of a text as texts again, as :func:`is_near_duplicate` takes them."""
        return frozenset(map(str, self.flat[self.ends[position] : self.ends[position + 1]].tolist()))

    def bands(self) -> Iterator[NDArray[np.uint64]]:
        """Yield for each band a key of every filled text; equal keys: the smallest hashes of the band are equal."""
        if not self.filled:
            return
        starts = np.asarray(self.ends)[self.filled]
        draws = np.random.default_rng(0)
        for _ in range(BANDS):
            key = np.zeros(len(self.filled), dtype=np.uint64)
            for _ in range(ROWS):
                factor, shift = draws.integers(1, 2**63, 2, dtype=np.uint64)
                mixed = self.hashes * (factor | np.uint64(1)) + shift
                hashes = (mixed ^ (mixed >> np.uint64(32))) * _MIX
                key = key * _MIX + np.minimum.reduceat(hashes[self.flat], starts)
            yield key


def _matches(table: _WordTable, wanted: range, *, within: bool) -> dict[int, int]:
    """Return the first verified partner of each wanted text, among earlier texts or among those not wanted."""
    matches: dict[int, int] = {}
    for band in table.bands():
        buckets: dict[int, list[int]] = {}
        for key, position in zip(band.tolist(), table.filled, strict=True):
            bucket = buckets.setdefault(key, [])
            if bucket and position in wanted and position not in matches:
                words = table.words(position)
                partner = next((other for other in bucket if is_near_duplicate(words, table.words(other))), None)
                if partner is not None:
                    matches[position] = partner
            if (within or position not in wanted) and len(bucket) < CANDIDATES:
                bucket.append(position)
    return matches
