"""The queries of dev and test, to find training queries that are nearly one of them."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stm_agent.domain.collection import Collection
from stm_agent.domain.text import NEAR_DUPLICATE, is_near_duplicate, normalise, words_of
from stm_agent.files import content_hash


@dataclass(frozen=True)
class HeldQueries:
    """The queries of dev and test, found by their rarest words; no caller gets to see one.

    Two sets of words with a Jaccard similarity of t share one of the first ``n - ceil(t n) + 1`` words of each, if the
    words of both are in one order (Chaudhuri et al. 2006); with the rarest first, few texts are compared.
    """

    texts: frozenset[str]
    frequency: Mapping[str, int]
    queries: Mapping[str, tuple[frozenset[str], ...]]

    @classmethod
    def of(cls, collection: Collection) -> HeldQueries:
        """Return the queries of all splits of a collection but ``train``."""
        splits = (split for name, split in collection.splits.items() if name != "train")
        return cls.of_texts(text for split in splits for text in split.queries.values())

    @classmethod
    def of_texts(cls, queries: Iterable[str]) -> HeldQueries:
        """Return an index of some queries."""
        texts = list(queries)
        words = [words_of(text) for text in texts]
        held = cls(frozenset(map(normalise, texts)), Counter(word for row in words for word in row), {})
        found: dict[str, list[frozenset[str]]] = {}
        for row in words:
            for word in held._rarest(row):
                found.setdefault(word, []).append(row)
        return dataclasses.replace(held, queries={word: tuple(rows) for word, rows in found.items()})

    def key(self) -> str:
        """Return a hash of the queries."""
        return content_hash(sorted(self.texts))

    def has(self, text: str) -> bool:
        """Return whether ``text`` is a query of dev or test, or nearly so."""
        if normalise(text) in self.texts:
            return True
        words = words_of(text)
        rows = (row for word in self._rarest(words) for row in self.queries.get(word, ()))
        return any(is_near_duplicate(words, row) for row in rows)

    def _rarest(self, words: frozenset[str]) -> list[str]:
        ordered = sorted(words, key=lambda word: (self.frequency.get(word, 0), word))
        return ordered[: len(ordered) - math.ceil(NEAR_DUPLICATE * len(ordered)) + 1]


NONE_HELD = HeldQueries(frozenset(), {}, {})
"""Of a corpus without dev and test queries."""
