"""Candidates of training pairs: what BM25, an encoder or a file finds for each query, without what is relevant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stm_agent.domain.data import Pair
from stm_agent.domain.text import is_near_duplicate, words_of
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.evaluate.ranking import rank
from stm_agent.mine.prompted import PromptedEncoder
from stm_agent.mine.score_teachers import FileTeacher, Question, ScoreTeacher


@dataclass(frozen=True)
class Sheet:
    """What is to be scored.

    Attributes:
        pairs: Training pairs.
        questions: The query of each pair.
        positives: Id of each pair's positive in ``texts``.
        pool: Passage id -> text that candidates come from.
        texts: The pool, and the positives that are not in it.
        groups: Group -> passages that are never a candidate of its pairs.
    """

    pairs: Sequence[Pair]
    questions: Sequence[Question]
    positives: Sequence[str]
    pool: Mapping[str, str]
    texts: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, pairs: Sequence[Pair], pool: Mapping[str, str], groups: Mapping[str, frozenset[str]]) -> Sheet:
        """Find the positives in the pool, and add those that are not in it."""
        texts = dict(pool)
        ids: dict[str, str] = {}
        for passage, text in pool.items():
            ids.setdefault(text, passage)
        questions, positives = [], []
        for pair in pairs:
            if pair.positive not in ids:
                # No id of the pool can be equal: ids have no line break.
                ids[pair.positive] = f"positive\n{pair.id}"
                texts[ids[pair.positive]] = pair.positive
            positive = ids[pair.positive]
            # Pairs of judged data are named query:document.
            questions.append(Question(pair.query, (pair.id, pair.id.removesuffix(f":{positive}"), pair.group)))
            positives.append(positive)
        return cls(pairs, questions, positives, pool, texts, groups)


def retrieve(
    sheet: Sheet, teacher: ScoreTeacher, depth: int, retriever: PromptedEncoder | None
) -> list[dict[str, None]]:
    """Return the ids of every pair's candidates: those a file lists, BM25's and the retriever's."""
    queries = [question.text for question in sheet.questions]
    rows: list[dict[str, None]] = [{} for _ in queries]
    if isinstance(teacher, FileTeacher):
        # A passage that the file does not score could not be used.
        for row, question in zip(rows, sheet.questions, strict=True):
            row |= dict.fromkeys(passage for passage in teacher.listed(question) if passage in sheet.pool)
        return rows
    for row, hits in zip(rows, Bm25Index(sheet.pool).search(queries, depth), strict=True):
        row |= dict.fromkeys(passage for passage, _ in hits)
    if retriever is not None:
        names = [str(number) for number in range(len(queries))]
        passages = retriever.corpus(list(sheet.pool.values()))
        run = rank(names, retriever.queries(queries), list(sheet.pool), passages, k=depth)
        for name, row in zip(names, rows, strict=True):
            row |= dict.fromkeys(_ordered(run[name]))
    return rows


def _ordered(hits: Mapping[str, float]) -> list[str]:
    return sorted(hits, key=lambda passage: (-hits[passage], passage))


@dataclass(frozen=True)
class Selection:
    """Leaves out what is relevant to a pair's group, or nearly its positive."""

    sheet: Sheet
    counts: Counter[str]
    words: dict[str, frozenset[str]] = field(default_factory=dict)

    def usable(self, rows: Sequence[Mapping[str, None]]) -> list[list[str]]:
        """Return the ids that stay."""
        usable = []
        for pair, row in zip(self.sheet.pairs, rows, strict=True):
            relevant, positive = self.sheet.groups.get(pair.group, frozenset()), words_of(pair.positive)
            other = [passage for passage in row if passage not in relevant]
            distinct = [passage for passage in other if not is_near_duplicate(self._words(passage), positive)]
            self.counts["relevant by the data"] += len(row) - len(other)
            self.counts["near-duplicate of the positive"] += len(other) - len(distinct)
            usable.append(distinct)
        return usable

    def _words(self, passage: str) -> frozenset[str]:
        if passage not in self.words:
            self.words[passage] = words_of(self.sheet.pool[passage])
        return self.words[passage]
