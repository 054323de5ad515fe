"""What single written queries are rated with in a run: its passages, its start, and the queries that people wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.evaluate.cache import EmbeddingCache, Vectors, encode_queries
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.evaluate.subcorpus import subcorpus
from stm_agent.files import sha256_text
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.context import HARD, RunContext
from stm_agent.loop.data_jobs import queries_job
from stm_agent.loop.probe import ProbeSetting
from stm_agent.synthesize.feedback import QueryRater
from stm_agent.synthesize.jobs import QueriesJob


def dev_part(context: RunContext, half: str, documents: int) -> ScoredTask:
    """Return a half of dev over a part of the corpus: judged passages and those hard for BM25, in about that number.

    Candidates are compared with each other on the same part, so that a part serves for both halves and the corpus as a
    whole need not be encoded.

    Args:
        context: The run.
        half: ``search`` or ``accept``.
        documents: Passages wanted; judged ones always stay.
    """
    queries = context.gate.halves.search if half == "search" else context.gate.halves.accept
    split = context.firewall.dev.only(queries, f"dev-{half}")
    ranked = context.lexical.run(split.queries, HARD, split.ignored_ids)
    return ScoredTask(half, subcorpus(context.documents, split, [ranked], HARD, size=documents), split)


def people_of(context: RunContext) -> tuple[Pair, ...]:
    """Return the domain's own train pairs, in a seeded order."""
    pairs = [pair for source in context.data.sources.values() for pair in source]
    return tuple(sorted(pairs, key=lambda pair: sha256_text(f"people {context.seed} {pair.id}")))


def draw_passages(pool: Mapping[str, str], count: int, seed: int) -> dict[str, str]:
    """Return ``count`` passages, drawn by a seeded hash that no writing job draws by."""
    names = sorted(pool, key=lambda name: sha256_text(f"example {seed} {name}"))[:count]
    return {name: pool[name] for name in names}


def writing_job(
    context: RunContext, program: Path, generator: LlmAccess, passages: Mapping[str, str], seed: int
) -> QueriesJob:
    """Return the job in which a program writes for each of some passages; what it writes is rated, not filtered."""
    spec = context.spec.synthesize
    count = len(passages) * min(spec.per_passage, len(spec.types))
    spec = spec.model_copy(update={"queries": count, "round_trip": 0})
    job = queries_job(
        context.spec.model_copy(update={"synthesize": spec}),
        context.workspace,
        context.data,
        passages,
        (context.backbone, Instruction()),
        generator,
        seed=seed,
        cache=context.cache,
    )
    return replace(job, program=program, spread=None)


def query_rater(
    context: RunContext, setting: ProbeSetting, passages: Mapping[str, str], people: Sequence[Pair]
) -> QueryRater:
    """Return a rater of queries for ``passages``, among these and the passages of the setting's task."""
    pool = {**setting.task.documents, **passages}
    encoder, cache, instruction = context.backbone.open(), EmbeddingCache(context.cache), setting.instruction
    vectors = cache.encode(encoder, list(pool.values()), prefix=instruction.passage_prefix)

    def encode(texts: Sequence[str]) -> Vectors:
        return encode_queries(cache, encoder, texts, prefix=instruction.query_prefix)

    return QueryRater(pool, encode, vectors, people)
