"""Mine hard negatives, and refuse passages that may be relevant."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import MineSpec
from stm_agent.domain.text import is_near_duplicate, normalise, words_of
from stm_agent.evaluate.approximate import approximate_top_k
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.evaluate.ranking import rank
from stm_agent.mine.prompted import PromptedEncoder
from stm_agent.progress import report, safe_point

Retriever = Literal["bm25", "dense"]
RELEVANT, TOO_NEAR = "relevant by the data", "too near the positive's score"
SOME = 200
"""Pairs between two safe points."""


@dataclass(frozen=True)
class Negative:
    """One hard negative.

    Attributes:
        text: The passage.
        source: How it was found.
        passage_id: Id in the pool; empty for a written one.
        score: The retriever's own score; 0 for others.
        provenance: More about its origin, as names and values: retriever rank, model, prompt hash.
    """

    text: str
    source: Literal["bm25", "dense", "structural", "synthetic"]
    passage_id: str = ""
    score: float = 0.0
    provenance: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Mined:
    """Negatives by pair id, hardest first, and the number of refused candidates by reason.

    Attributes:
        negatives: What was accepted.
        counts: Candidates refused, by reason.
        doubtful: Candidates refused since they score too near the positive.
        relevant: Candidates refused since the data names them as relevant.
    """

    negatives: Mapping[str, tuple[Negative, ...]]
    counts: Mapping[str, int]
    doubtful: Mapping[str, tuple[Negative, ...]] = field(default_factory=dict)
    relevant: Mapping[str, tuple[Negative, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Hit:
    """A passage that a retriever returned for a pair, and what the encoder thinks of it (else the retriever)."""

    retriever: Retriever
    passage: str
    score: float
    opinion: float

    def negative(self, pool: Mapping[str, str]) -> Negative:
        """Return the hit as a negative."""
        return Negative(pool[self.passage], self.retriever, self.passage, self.score)


def mine(
    pairs: Sequence[Pair],
    pool: Mapping[str, str],
    groups: Mapping[str, frozenset[str]],
    *,
    spec: MineSpec,
    encoder: PromptedEncoder | None,
) -> Mined:
    """Mine negatives for pairs from a pool of passages.

    A candidate is refused if it is relevant to the group of the pair or of another one with the same query, has the
    text of the positive or of the query or nearly so, or if the encoder scores it at ``spec.margin`` of the positive's
    score or above (NV-Retriever's TopK-PercPos, arXiv 2407.15831). Without an encoder, the dense retriever and that
    last filter are skipped, which is counted.

    Args:
        pairs: What negatives are needed for.
        pool: Passage id -> text.
        groups: Group -> ids of the passages that are relevant to it.
        spec: Retrievers, depth and margin.
        encoder: The dense retriever and filter; None: BM25 alone.

    Raises:
        StopRequested: A stop was asked for between two pairs.
    """
    counts: Counter[str] = Counter()
    judge = _Judge(pairs, pool, encoder) if encoder is not None else None
    if judge is None:
        counts["pairs without a positive-aware filter"] = len(pairs)
    candidates = _retrieve(pairs, pool, spec, judge)
    safe_point()
    words = functools.cache(lambda passage: words_of(pool[passage]))  # most of a large pool are nobody's candidates
    relevant_to = _relevant_by_query(pairs, groups)
    negatives: dict[str, tuple[Negative, ...]] = {}
    doubtful: dict[str, tuple[Negative, ...]] = {}
    relevant_hits: dict[str, tuple[Negative, ...]] = {}
    for index, pair in enumerate(pairs):
        if index % SOME == 0:
            report("mine", "pairs", index, len(pairs))
        relevant = relevant_to[normalise(pair.query)]
        own = words_of(pair.query), words_of(pair.positive)
        limit = spec.margin * judge.positive(index) if judge else None
        hits = _distinct(candidates[index])
        faults = [_fault(hit, hit.passage in relevant, words(hit.passage), own, limit) for hit in hits]
        counts.update(fault for fault in faults if fault)
        sorted_hits = sorted(zip(hits, faults, strict=True), key=lambda row: -row[0].opinion)
        for group, wanted in ((negatives, None), (doubtful, TOO_NEAR), (relevant_hits, RELEVANT)):
            group[pair.id] = tuple(hit.negative(pool) for hit, fault in sorted_hits if fault == wanted)
        counts["pairs without a negative"] += not negatives[pair.id]
    return Mined(negatives, dict(counts), doubtful, relevant_hits)


def _retrieve(pairs: Sequence[Pair], pool: Mapping[str, str], spec: MineSpec, judge: _Judge | None) -> list[list[_Hit]]:
    """Return the candidates of each pair, BM25's first."""
    rows: list[list[_Hit]] = [[] for _ in pairs]

    def add(retriever: Retriever, found: Sequence[Sequence[tuple[str, float]]]) -> None:
        for index, hits in enumerate(found):
            opinions = judge.scores(index, [passage for passage, _ in hits]) if judge else [score for _, score in hits]
            rows[index] += [
                _Hit(retriever, passage, score, opinion)
                for (passage, score), opinion in zip(hits, opinions, strict=True)
            ]

    if "bm25" in spec.retrievers:
        add("bm25", _bm25_hits(pairs, pool, spec.depth))
    if "dense" in spec.retrievers and judge is not None:
        add("dense", judge.search(spec))
    return rows


def _bm25_hits(pairs: Sequence[Pair], pool: Mapping[str, str], depth: int) -> list[list[tuple[str, float]]]:
    safe_point()
    index = Bm25Index(pool)
    found: list[list[tuple[str, float]]] = []
    for begin in range(0, len(pairs), SOME):
        report("mine", "queries of BM25", begin, len(pairs))
        found += index.search([pair.query for pair in pairs[begin : begin + SOME]], depth)
    return found


def _distinct(hits: Sequence[_Hit]) -> list[_Hit]:
    """Return the first hit of each passage."""
    first: dict[str, _Hit] = {}
    for hit in hits:
        first.setdefault(hit.passage, hit)
    return list(first.values())


def _relevant_by_query(pairs: Sequence[Pair], groups: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Return normalised query -> passages relevant to any pair with it: one text can have several ids and groups."""
    relevant: dict[str, frozenset[str]] = {}
    for pair in pairs:
        query = normalise(pair.query)
        relevant[query] = relevant.get(query, frozenset()) | groups.get(pair.group, frozenset())
    return relevant


def _fault(
    hit: _Hit,
    is_relevant: bool,
    words: frozenset[str],
    pair: tuple[frozenset[str], frozenset[str]],
    limit: float | None,
) -> str | None:
    """Return why a candidate is refused, or None; ``pair`` has the words of the query and of the positive."""
    query, positive = pair
    if is_relevant:
        return RELEVANT
    if is_near_duplicate(words, positive):
        return "near-duplicate of the positive"
    if is_near_duplicate(words, query):
        return "near-duplicate of the query"
    if limit is not None and hit.opinion >= limit:
        return TOO_NEAR
    return None


class _Judge:
    """The encoder's scores of pairs and passages."""

    def __init__(self, pairs: Sequence[Pair], pool: Mapping[str, str], encoder: PromptedEncoder) -> None:
        self._names = [str(index) for index in range(len(pairs))]
        self._ids = list(pool)
        self._columns = {passage: column for column, passage in enumerate(self._ids)}
        self._passages = encoder.corpus(list(pool.values()))
        self._queries = encoder.queries([pair.query for pair in pairs])
        self._positive = (self._queries * encoder.passages([pair.positive for pair in pairs])).sum(axis=1)

    def search(self, spec: MineSpec) -> list[list[tuple[str, float]]]:
        """Return the nearest passages of each pair's query and their scores, nearest first."""
        if spec.search == "faiss":
            scores, columns = approximate_top_k(self._queries, self._passages, spec.depth)
            rows = zip(columns.tolist(), scores.tolist(), strict=True)
            return [[(self._ids[c], s) for c, s in zip(*row, strict=True) if c >= 0] for row in rows]
        run = rank(self._names, self._queries, self._ids, self._passages, k=spec.depth)
        return [sorted(run[name].items(), key=lambda hit: -hit[1]) for name in self._names]

    def scores(self, index: int, passages: Sequence[str]) -> list[float]:
        """Return the scores of passages for a pair's query."""
        vectors = self._passages.take([self._columns[passage] for passage in passages])
        return [float(self._queries[index] @ vector) for vector in vectors]

    def positive(self, index: int) -> float:
        """Return the score of a pair's own positive."""
        return float(self._positive[index])
