"""What speaks for the relevance of each candidate: a teacher's score, BM25, and how near it is to known positives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import UNLABELLED
from stm_agent.domain.spec import WRITTEN as WRITTEN_QUERIES
from stm_agent.domain.text import is_near_duplicate, normalise, words_of
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.files import content_hash
from stm_agent.mine.negatives import Negative
from stm_agent.mine.prompted import PromptedEncoder
from stm_agent.mine.score_teachers import Passage, Question, ScoreTeacher
from stm_agent.progress import report, safe_point

Floats = NDArray[np.float64]
Kind = Literal["bm25", "dense", "structural", "synthetic", "refused"]
WRITTEN: Literal["synthetic"] = "synthetic"
REFUSED: Literal["refused"] = "refused"
NOT_JUDGED = frozenset({*UNLABELLED, WRITTEN_QUERIES})
"""Sources whose queries were made of their passages."""
SOME = 200
"""Queries between two safe points."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What mining found for pairs, and what an LLM wrote, by pair id.

    Attributes:
        negatives: Candidates that mining accepted.
        doubtful: Candidates that mining refused since they score too near the positive.
        relevant: Candidates that the data names as relevant.
        written: Negatives that an LLM wrote.
    """

    negatives: Mapping[str, tuple[Negative, ...]]
    doubtful: Mapping[str, tuple[Negative, ...]]
    relevant: Mapping[str, tuple[Negative, ...]]
    written: Mapping[str, tuple[Negative, ...]]

    @cached_property
    def digest(self) -> str:
        """Hash of everything that was found."""
        parts = (self.negatives, self.doubtful, self.relevant, self.written)
        return content_hash([{pair: [n.text for n in row] for pair, row in part.items() if row} for part in parts])


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A passage beside a query; each of both is listed once, with the first pair that had it.

    Attributes:
        pair: The pair.
        query: Number of the query; pairs with the same normalised query share it.
        passage: The passage.
        kind: How it was found; ``refused`` by mining, whichever retriever found it.
        known: Whether the data says that it is relevant.
        alone: Whether it is the only passage of its query that the data says so of.
    """

    pair: Pair
    query: int
    passage: Passage
    kind: Kind
    known: bool
    alone: bool = False


@dataclass(frozen=True)
class Evidence:
    """Suspects, and what speaks for their relevance.

    Attributes:
        suspects: The suspects.
        features: ``[suspects, features]`` float64; NaN in the rows of those that are alone, whose query has no other
            positive to compare them with.
        counts: Suspects that were left out, by reason.
        plain: The same without what compares with positives, so that every row has it; empty: there is nothing.
    """

    suspects: tuple[Suspect, ...]
    features: Floats
    counts: Mapping[str, int]
    plain: Floats = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True)
class _Query:
    pairs: list[Pair]
    references: list[str]


def list_suspects(pairs: Sequence[Pair], found: Found) -> list[Suspect]:
    """Return every candidate of each query once, and the known positives that retrieval found like candidates.

    A known positive counts only if retrieval found it, as it found the candidates, and if it is not a near-duplicate of
    another one of its query, which mining would have refused. One that is alone counts only if people judged it: the
    query of a sentence or of an LLM was made of its passage, and looks like it.
    """
    suspects: list[Suspect] = []
    for number, query in enumerate(_by_query(pairs)):
        seen = {normalise(text) for text in query.references}
        for pair in query.pairs:
            for kind, negatives in _kinds(found, pair.id):
                for negative in negatives:
                    if (name := normalise(negative.text)) not in seen:
                        seen.add(name)
                        passage = Passage(negative.passage_id or f"written\n{pair.id}\n{len(seen)}", negative.text)
                        source = negative.source if kind is None else kind
                        suspects.append(Suspect(pair=pair, query=number, passage=passage, kind=source, known=False))
        suspects += _known(number, query, found)
    return suspects


def _kinds(found: Found, pair: str) -> tuple[tuple[Kind | None, tuple[Negative, ...]], ...]:
    return (
        (None, found.negatives.get(pair, ())),
        (None, found.written.get(pair, ())),
        (REFUSED, found.doubtful.get(pair, ())),
    )


def _by_query(pairs: Sequence[Pair]) -> list[_Query]:
    queries: dict[str, _Query] = {}
    for pair in pairs:
        query = queries.setdefault(normalise(pair.query), _Query([], []))
        query.pairs.append(pair)
        if pair.positive not in query.references:
            query.references.append(pair.positive)
    return list(queries.values())


def _known(number: int, query: _Query, found: Found) -> list[Suspect]:
    alone = len(query.references) == 1
    if alone and all(pair.source in NOT_JUDGED for pair in query.pairs):
        return []
    words = {text: words_of(text) for text in query.references}
    hits = {hit.text: hit for pair in query.pairs for hit in found.relevant.get(pair.id, ()) if hit.text in words}
    return [
        Suspect(
            pair=query.pairs[0],
            query=number,
            passage=Passage(hit.passage_id, text),
            kind=_source(hit),
            known=True,
            alone=alone,
        )
        for text, hit in hits.items()
        if not any(is_near_duplicate(words[text], words[other]) for other in query.references if other != text)
    ]


def _source(hit: Negative) -> Kind:
    return hit.source


def weigh(
    pairs: Sequence[Pair],
    suspects: Sequence[Suspect],
    pool: Mapping[str, str],
    *,
    teacher: ScoreTeacher | None,
    encoder: PromptedEncoder | None,
) -> Evidence:
    """Return the features of suspects.

    These are BM25's score as a share of the query's best; the teacher's score, and its distance to the mean score of
    the query's positives (the positive-aware margin of NV-Retriever, arXiv 2407.15831); and the mean and the highest
    cosine to these positives, since relevant passages resemble each other (the cluster hypothesis). A suspect that is
    a positive itself is compared with the others. BM25's share and the teacher's score need no positive.

    Args:
        pairs: The pairs.
        suspects: What to weigh.
        pool: Passage id -> text that was searched.
        teacher: Scores passages; None: no such feature. Suspects that it does not score are left out and counted.
        encoder: Compares passages; None: no such feature.
    """
    queries = _by_query(pairs)
    rows: list[list[Suspect]] = [[] for _ in queries]
    for suspect in suspects:
        rows[suspect.query].append(suspect)
    ordered = [suspect for row in rows for suspect in row]
    if not ordered:
        return Evidence((), np.zeros((0, 1)), {"without a score": 0}, np.zeros((0, 1)))
    features = [_words(queries, rows, pool)]
    plain = list(features)
    if teacher is not None:
        features.append(_scores(queries, rows, teacher))
        plain.append(features[-1][:, :1])
    if encoder is not None:
        features.append(_nearness(queries, rows, encoder))
    alone = np.array([suspect.alone for suspect in ordered])
    whole, without = np.concatenate(features, axis=1), np.concatenate(plain, axis=1)
    whole[alone] = np.nan
    scored = np.asarray(np.isfinite(without).all(axis=1) & (alone | np.isfinite(whole).all(axis=1)))
    suspects = tuple(suspect for suspect, ok in zip(ordered, scored, strict=True) if ok)
    return Evidence(suspects, whole[scored], {"without a score": int((~scored).sum())}, without[scored])


def _words(queries: Sequence[_Query], rows: Sequence[Sequence[Suspect]], pool: Mapping[str, str]) -> Floats:
    texts = dict(pool)
    for row in rows:
        for suspect in row:
            texts.setdefault(suspect.passage.id, suspect.passage.text)
    index, values = Bm25Index(texts), []
    columns = {passage: column for column, passage in enumerate(texts)}
    for number, (query, row) in enumerate(zip(queries, rows, strict=True)):
        if number % SOME == 0:
            safe_point()
            report("audit", "queries", number, len(queries))
        if row:
            scores = index.scores(query.pairs[0].query)
            best = max(float(scores.max()), 1e-9)
            values += [float(scores[columns[suspect.passage.id]]) / best for suspect in row]
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def _scores(queries: Sequence[_Query], rows: Sequence[Sequence[Suspect]], teacher: ScoreTeacher) -> Floats:
    questions = [
        Question(query.pairs[0].query, (query.pairs[0].id, query.pairs[0].id.partition(":")[0], query.pairs[0].group))
        for query in queries
    ]
    ids = {suspect.passage.text: suspect.passage.id for row in rows for suspect in row if suspect.known}
    lists = [
        [*(Passage(ids.get(text, text), text) for text in query.references), *(suspect.passage for suspect in row)]
        for query, row in zip(queries, rows, strict=True)
    ]
    values: list[tuple[float, float]] = []
    for query, row, scores in zip(queries, rows, teacher.score(questions, lists), strict=True):
        count = len(query.references)
        for suspect, score in zip(row, scores[count:], strict=True):
            others = [
                value
                for text, value in zip(query.references, scores[:count], strict=True)
                if text != suspect.passage.text and np.isfinite(value)
            ]
            values.append((score, score - float(np.mean(others)) if others else np.nan))
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def _nearness(queries: Sequence[_Query], rows: Sequence[Sequence[Suspect]], encoder: PromptedEncoder) -> Floats:
    numbers = {text: number for number, text in enumerate(_distinct_texts(queries, rows))}
    vectors = encoder.passages(list(numbers)) if numbers else np.zeros((0, 1), dtype=np.float32)
    values: list[tuple[float, float]] = []
    for query, row in zip(queries, rows, strict=True):
        if not row:
            continue
        references = vectors[[numbers[text] for text in query.references]]
        cosines = vectors[[numbers[suspect.passage.text] for suspect in row]] @ references.T
        for suspect, cosine in zip(row, cosines, strict=True):
            others = cosine[[text != suspect.passage.text for text in query.references]]
            values.append((float(others.mean()), float(others.max())) if len(others) else (np.nan, np.nan))
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def _distinct_texts(queries: Sequence[_Query], rows: Sequence[Sequence[Suspect]]) -> list[str]:
    """Return the passages of all queries, positives first, each once."""
    positives = (text for query in queries for text in query.references)
    suspects = (suspect.passage.text for row in rows for suspect in row)
    return list(dict.fromkeys((*positives, *suspects)))
