"""Mine hard negatives, and keep out what may be relevant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stm_agent.domain.collection import normalise
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import MineSpec
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.ranking import rank

NEAR = 0.8
"""Token Jaccard from which two passages count as the same."""


@dataclass(frozen=True)
class Negative:
    """One hard negative.

    Attributes:
        text: The passage.
        source: Which lever it comes from.
        passage_id: Id in the pool; empty for a written one.
        score: The retriever's own score, or 0.
        provenance: What else is known: retriever rank, model, prompt hash.
    """

    text: str
    source: Literal["bm25", "dense", "structural", "synthetic"]
    passage_id: str = ""
    score: float = 0.0
    provenance: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Mined:
    """Negatives by pair id, hardest first, and how many candidates were refused, by reason."""

    negatives: Mapping[str, tuple[Negative, ...]]
    counts: Mapping[str, int]


def mine(
    pairs: Sequence[Pair],
    pool: Mapping[str, str],
    groups: Mapping[str, frozenset[str]],
    *,
    spec: MineSpec,
    encoder: Encoder | None,
    cache: EmbeddingCache | None,
) -> Mined:
    """Mine negatives for pairs from a pool of passages.

    A candidate is refused when it is relevant to the pair's group, has the positive's text or nearly
    so, or when the encoder scores it at ``spec.margin`` of the positive's score or above (NV-Retriever's
    TopK-PercPos, arXiv 2407.15831). Without an encoder the dense retriever and that filter are left out and counted.
    """
    counts: Counter[str] = Counter()
    candidates: list[list[tuple[str, str, float]]] = [[] for _ in pairs]
    if "bm25" in spec.retrievers:
        for row, hits in zip(
            candidates, Bm25Index(pool).search([pair.query for pair in pairs], spec.depth), strict=True
        ):
            row += [("bm25", passage, score) for passage, score in hits]
    judge = _Judge(pairs, pool, encoder, cache) if encoder is not None else None
    if "dense" in spec.retrievers and judge is not None:
        for row, found in zip(candidates, judge.search(spec.depth), strict=True):
            row += [("dense", passage, score) for passage, score in found]
    if judge is None:
        counts["pairs without a positive-aware filter"] = len(pairs)
    words = {passage: frozenset(normalise(text).split()) for passage, text in pool.items()}
    negatives = {}
    for index, pair in enumerate(pairs):
        kept = _filter(pair, candidates[index], groups, words, spec, judge.row(index) if judge else None, counts)
        ordered = sorted(kept, key=lambda hit: -hit[3])
        negatives[pair.id] = tuple(
            Negative(pool[passage], source, passage, score)  # type: ignore[arg-type]
            for source, passage, score, _ in ordered
        )
        counts["pairs without a negative"] += not kept
    return Mined(negatives, dict(counts))


class _Judge:
    """The encoder's opinion of every pair and passage."""

    def __init__(
        self, pairs: Sequence[Pair], pool: Mapping[str, str], encoder: Encoder, cache: EmbeddingCache | None
    ) -> None:
        encode = (lambda texts: cache.encode(encoder, texts)) if cache else encoder.encode
        self._pairs = pairs
        self._ids = list(pool)
        self._column = {passage: column for column, passage in enumerate(self._ids)}
        self._passages = encode(list(pool.values()))
        self._queries = encode([pair.query for pair in pairs])
        self._positive = (self._queries * encode([pair.positive for pair in pairs])).sum(axis=1)

    def search(self, k: int) -> list[list[tuple[str, float]]]:
        names = [str(index) for index in range(len(self._pairs))]
        run = rank(names, self._queries, self._ids, self._passages, k=k)
        return [sorted(run[name].items(), key=lambda hit: -hit[1]) for name in names]

    def row(self, index: int) -> _Row:
        return _Row(self, index)

    def score(self, index: int, passage: str) -> float:
        return float(self._queries[index] @ self._passages[self._column[passage]])

    def positive(self, index: int) -> float:
        return float(self._positive[index])


@dataclass(frozen=True)
class _Row:
    judge: _Judge
    index: int

    def score(self, passage: str) -> float:
        return self.judge.score(self.index, passage)

    @property
    def positive(self) -> float:
        return self.judge.positive(self.index)


def _filter(
    pair: Pair,
    candidates: Sequence[tuple[str, str, float]],
    groups: Mapping[str, frozenset[str]],
    words: Mapping[str, frozenset[str]],
    spec: MineSpec,
    judged: _Row | None,
    counts: Counter[str],
) -> list[tuple[str, str, float, float]]:
    """Return (retriever, passage, retriever's score, judge's score) of what is left."""
    relevant = groups.get(pair.group, frozenset())
    positive = frozenset(normalise(pair.positive).split())
    kept: list[tuple[str, str, float, float]] = []
    seen: set[str] = set()
    for source, passage, score in candidates:
        if passage in seen:
            continue
        seen.add(passage)
        opinion = judged.score(passage) if judged else score
        if passage in relevant:
            counts["relevant by the data"] += 1
        elif len(words[passage] & positive) >= NEAR * len(words[passage] | positive):
            counts["near-duplicate of the positive"] += 1
        elif judged and opinion >= spec.margin * judged.positive:
            counts["too near the positive's score"] += 1
        else:
            kept.append((source, passage, score, opinion))
    return kept
