"""Encode, rank and score: the one way a model is scored, and the job that does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypedDict

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.corpus import encode_corpus
from stm_agent.evaluate.encoder import Encoder, EncoderSource
from stm_agent.evaluate.metrics import Run, Scores, score
from stm_agent.evaluate.ranking import rank
from stm_agent.files import content_hash, read_json, write_json
from stm_agent.job import Job

DEPTH = 100
"""Documents ranked for each query: what Recall@100 needs."""
SCORES, FIRST = "scores.json", "first.json"
SHOWN = 5
"""First documents of each query that are kept for people to look at."""


@dataclass(frozen=True)
class ScoredTask:
    """What a model is scored on: a corpus, the judged queries of one split, and the instruction in front of them.

    Attributes:
        name: Unique among the tasks of one job.
        documents: Document id -> text.
        split: Judged queries.
    """

    name: str
    documents: Mapping[str, str]
    split: Split

    @cached_property
    def content_hash(self) -> str:
        """Hash over corpus, queries and judgements."""
        qrels = {query: dict(grades) for query, grades in self.split.qrels.items()}
        ignored = [sorted(self.split.ignored_ids)] if self.split.ignored_ids else []
        return content_hash([list(self.documents.items()), dict(self.split.queries), qrels, *ignored])


def score_split(
    cache: EmbeddingCache | None, encoder: Encoder, documents: Mapping[str, str], split: Split, instruction: Instruction
) -> Scores:
    """Encode, rank and score one split; nDCG@10, Recall@100 and MRR@10 over its queries. None caches nothing."""
    return score(dense_run(cache, encoder, documents, split, instruction, DEPTH), split.qrels)


def dense_run(
    cache: EmbeddingCache | None,
    encoder: Encoder,
    documents: Mapping[str, str],
    split: Split,
    instruction: Instruction,
    depth: int,
) -> dict[str, dict[str, float]]:
    """Encode and rank: query id -> its ``depth`` nearest documents and their cosines."""
    passages = encode_corpus(cache, encoder, list(documents.values()), prefix=instruction.passage_prefix)
    queries = encode_queries(cache, encoder, list(split.queries.values()), prefix=instruction.query_prefix)
    return rank(list(split.queries), queries, list(documents), passages, k=depth, ignored_ids=split.ignored_ids)


@dataclass(frozen=True)
class ScoringJob(Job):
    """Scores one model on several tasks, each with an instruction of its own.

    Attributes:
        model: The model, as a value that can be opened.
        tasks: Task and the instruction it is scored with.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "evaluate"
    model: EncoderSource
    tasks: tuple[tuple[ScoredTask, Instruction], ...]
    cache: Path

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the scores."""
        tasks = [
            [task.name, task.content_hash, instruction.query_prefix, instruction.passage_prefix]
            for task, instruction in self.tasks
        ]
        return {"model": self.model.source_key(), "tasks": tasks}

    def build(self, folder: Path) -> None:
        """Write ``scores.json``: task name -> scores with nDCG@10 of every query, and ``first.json``: what it found.

        Raises:
            BackboneError: The model cannot be loaded.
            OutOfMemory: Encoding does not fit the memory.
        """
        encoder, cache = self.model.open(), EmbeddingCache(self.cache)
        found, first = dict[str, Scores](), dict[str, dict[str, list[str]]]()
        for task, instruction in self.tasks:
            run = dense_run(cache, encoder, task.documents, task.split, instruction, DEPTH)
            found[task.name], first[task.name] = score(run, task.split.qrels), first_documents(run)
        write_json(folder / FIRST, first)
        speed = {"texts": cache.misses, "seconds": round(cache.seconds, 3)}
        write_json(folder / SCORES, {"scores": {name: scores_to_json(one) for name, one in found.items()}, **speed})


def read_scores(folder: Path) -> dict[str, Scores]:
    """Read what a :class:`ScoringJob` wrote: task name -> scores."""
    return {name: scores_from_json(row) for name, row in read_json(folder / SCORES)["scores"].items()}


def first_documents(run: Run) -> dict[str, list[str]]:
    """Return the best documents of each query, at most :data:`SHOWN`, in the order in which they are scored."""
    return {
        query: sorted(ranking, key=lambda document: (ranking[document], document), reverse=True)[:SHOWN]
        for query, ranking in run.items()
    }


def read_first(folder: Path, task: str) -> dict[str, list[str]]:
    """Read the first documents of a task's queries; empty if an earlier version built the stage."""
    path = folder / FIRST
    if not path.is_file():
        return {}
    first: dict[str, list[str]] = read_json(path).get(task, {})
    return first


def encoding_of(folder: Path) -> tuple[int, float]:
    """Return the texts that a :class:`ScoringJob` encoded, not found in the cache, and the seconds it took."""
    row = read_json(folder / SCORES)
    return int(row["texts"]), float(row["seconds"])


class StoredScores(TypedDict):
    """Scores as JSON."""

    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float
    per_query: dict[str, float]


def scores_to_json(scores: Scores) -> StoredScores:
    """Return scores as JSON values."""
    return {
        "ndcg_at_10": scores.ndcg_at_10,
        "recall_at_100": scores.recall_at_100,
        "mrr_at_10": scores.mrr_at_10,
        "per_query": dict(scores.per_query),
    }


def scores_from_json(row: StoredScores) -> Scores:
    """Read :func:`scores_to_json` back."""
    return Scores(row["ndcg_at_10"], row["recall_at_100"], row["mrr_at_10"], row["per_query"])


def mean_ndcg(scores: Sequence[Scores]) -> float:
    """Return the mean nDCG@10 over tasks; 0.0 without any."""
    return sum(row.ndcg_at_10 for row in scores) / len(scores) if scores else 0.0
