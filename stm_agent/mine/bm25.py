"""BM25 over a corpus, by bm25s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stm_agent.errors import DataError


class Bm25Index:
    """An in-memory BM25 index (k1 1.2, b 0.75, English stop words, Snowball stemmer)."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Index a corpus.

        Raises:
            DataError: The corpus is empty.
        """
        if not texts:
            raise DataError("there is no passage to index; check the corpus")
        import bm25s
        import Stemmer

        self._ids = list(texts)
        # Any: the package has no types.
        self._stemmer: Any = Stemmer.Stemmer("english")
        self._tokenize: Any = lambda batch: bm25s.tokenize(
            batch, stopwords="en", stemmer=self._stemmer, show_progress=False, return_ids=False
        )
        self._index = bm25s.BM25(k1=1.2, b=0.75)
        tokens = self._tokenize(list(texts.values()))
        # A corpus of stop words alone has no vocabulary; one token nobody asks for keeps it an index.
        self._index.index(tokens if any(tokens) else [["\0"] for _ in tokens], show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
        """Return up to ``k`` (id, score) pairs a query, best first, without passages that share no word."""
        k = min(k, len(self._ids))
        found: list[list[tuple[str, float]]] = []
        for tokens in self._tokenize(list(queries)):
            known = [token for token in tokens if token in self._index.vocab_dict]
            if not known:
                found.append([])
                continue
            hits, scores = self._index.retrieve([known], k=k, show_progress=False, n_threads=0)
            pairs = zip(hits[0].tolist(), scores[0].tolist(), strict=True)
            found.append([(self._ids[hit], float(value)) for hit, value in pairs if value > 0])
        return found
