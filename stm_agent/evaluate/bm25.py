"""BM25 over a corpus, by bm25s."""

from __future__ import annotations

import bisect
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.keywords import RULES, keywords
from stm_agent.errors import DataError
from stm_agent.files import whole_folder

K1, B = 1.2, 0.75
LONGER = 30
"""Largest number of words that complete an unfinished word."""


def written_by() -> str:
    """Return everything except the texts that decides an index; a stored index is used only if this is equal."""
    from importlib.metadata import version

    packages = f"bm25s {version('bm25s')}, PyStemmer {version('PyStemmer')}"
    return f"{packages}, {RULES}, k1 {K1}, b {B}"


class Bm25Index:
    """An in-memory BM25 index (k1 1.2, b 0.75, English stop words, Snowball stemmer).

    Scripts without spaces between words are indexed by letter bigrams, other scripts by bm25s's words.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Index a corpus.

        Raises:
            DataError: The corpus is empty.
        """
        if not texts:
            raise DataError("the corpus has no passages to index; add some")
        import bm25s

        index = bm25s.BM25(k1=K1, b=B)
        self._take(list(texts), index)
        tokens = keywords(list(texts.values()))
        # A corpus of stop words alone has no vocabulary; a token that no query contains keeps the index valid.
        index.index(tokens if any(tokens) else [["\0"] for _ in tokens], show_progress=False)

    def _take(self, ids: list[str], index: Any) -> None:  # noqa: ANN401 - the package has no types
        self._ids = ids
        self._index = index
        self._sorted: list[str] | None = None

    def _beginning_with(self, token: str) -> list[str]:
        if self._sorted is None:
            self._sorted = sorted(self._index.vocab_dict)
        first = bisect.bisect_left(self._sorted, token)
        return [word for word in self._sorted[first : first + LONGER] if word.startswith(token)]

    def save(self, folder: Path) -> None:
        """Write the index to a new folder atomically, without the ids.

        Raises:
            StorageError: The disk is full or the folder cannot be written.
        """
        with whole_folder(folder) as made:
            self._index.save(made, show_progress=False)

    @classmethod
    def load(cls, folder: Path, ids: Sequence[str]) -> Self:
        """Return the index that ``save`` wrote; ``ids`` are those of the same passages in the same order.

        Raises:
            DataError: The folder does not hold an index, is damaged, or has another number of passages.
        """
        import bm25s

        try:
            index = bm25s.BM25.load(folder, show_progress=False)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder} holds no BM25 index, or it is damaged; delete it") from error
        if index.scores["num_docs"] != len(ids):
            raise DataError(f"{folder} is the index of other passages; delete it")
        made = cls.__new__(cls)
        made._take(list(ids), index)
        return made

    def search(self, queries: Sequence[str], k: int, *, unfinished: bool = False) -> list[list[tuple[str, float]]]:
        """Return up to ``k`` (id, score) pairs for each query, best first; passages must share a word with it.

        Args:
            queries: The queries.
            k: Largest number of passages for each.
            unfinished: Take the last word for the beginning of a longer one, for search while a user types.
        """
        k = min(k, len(self._ids))
        results: list[list[tuple[str, float]]] = []
        for tokens in keywords(queries):
            terms = [token for token in tokens if token in self._index.vocab_dict]
            if unfinished and tokens and tokens[-1] not in self._index.vocab_dict:
                terms += self._beginning_with(tokens[-1])
            if not terms:
                results.append([])
                continue
            hits, scores = self._index.retrieve([terms], k=k, show_progress=False, n_threads=0)
            pairs = zip(hits[0].tolist(), scores[0].tolist(), strict=True)
            results.append([(self._ids[hit], float(value)) for hit, value in pairs if value > 0])
        return results

    def run(
        self, queries: Mapping[str, str], k: int = 100, ignored_ids: Container[str] = frozenset()
    ) -> dict[str, dict[str, float]]:
        """Return query id -> document id -> score of the ``k`` best; ``ignored_ids`` as in ``rank``."""
        found = zip(queries, self.search(list(queries.values()), k + 1), strict=True)
        return {
            query: dict([hit for hit in hits if hit[0] != query or query not in ignored_ids][:k])
            for query, hits in found
        }

    def scores(self, query: str) -> NDArray[np.float32]:
        """Return ``[passages]`` float32: the score of every passage for a query, in the order of the corpus."""
        (tokens,) = keywords([query])
        terms = [token for token in tokens if token in self._index.vocab_dict]
        if not terms:
            return np.zeros(len(self._ids), dtype=np.float32)
        return np.asarray(self._index.get_scores(terms), dtype=np.float32)
