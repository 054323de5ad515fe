"""Search the retrieval instruction on one half of dev, accept it on the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import InstructSpec
from stm_agent.errors import BudgetExceeded
from stm_agent.evaluate.baselines import bm25_run
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.cached import corpus_task, score_with_mteb
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.significance import Comparison, paired_bootstrap
from stm_agent.files import sha256_text
from stm_agent.instruct.proposers import proposers
from stm_agent.instruct.scorer import InstructionScorer, subcorpus
from stm_agent.instruct.trials import Trials
from stm_agent.traces import TraceStore

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The outcome of a search: the instruction to use, and why.

    Attributes:
        instruction: The winner, or the incumbent.
        winner: The best on the searching half, whether it was accepted or not.
        accepted: Whether the accepting half agreed.
        comparison: Winner against incumbent on the accepting half.
        tried: Candidates that were scored.
        reason: All of it in words.
        inner: nDCG@10 of each finalist on the searching half, over the sub-corpus.
        full: The same over the whole corpus, by mteb.
        agree: Whether both corpora have the same winner.
    """

    instruction: Instruction
    winner: Instruction
    accepted: bool
    comparison: Comparison
    tried: int
    reason: str
    inner: Mapping[str, float]
    full: Mapping[str, float]
    agree: bool


def halves(split: Split) -> tuple[Split, Split]:
    """Cut a split in two by the hash of the query id: one to search on, one to accept on."""
    sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for query, text in split.queries.items():
        sides[int(sha256_text(query)[:8], 16) % 2][query] = text
    search, accept = (
        Split(f"{split.name}-{name}", side, {query: split.qrels[query] for query in side})
        for name, side in zip(("search", "accept"), sides, strict=True)
    )
    return search, accept


def search_instruction(
    *,
    encoder: Encoder,
    cache: EmbeddingCache,
    collection_dev: Split,
    documents: Mapping[str, str],
    seeds: Sequence[Instruction],
    incumbent: Instruction,
    reflection: LlmClient | None,
    spec: InstructSpec,
    alpha: float,
    trace: Path,
    seed: int,
    task: str,
    framings: Sequence[Instruction] = (),
) -> Found:
    """Try seeds, a pool, an LLM's reflections and passage instructions; accept only where the other half agrees.

    Candidates are scored on a sub-corpus (judged passages and hard ones), the finalists on the whole corpus by mteb,
    and the best of these is accepted when its paired interval on the accepting half excludes 0 and it gains at least
    ``spec.min_effect``; of equal ones the shorter is taken. Each candidate is a trace.
    """
    searching, accepting = halves(collection_dev)
    whole = InstructionScorer(encoder, cache, documents, searching, incumbent)
    store = TraceStore(trace)
    trials = Trials(_inner(whole, spec.hard), store)
    trials.try_one(incumbent)
    for proposer in proposers(spec, seeds=seeds, framings=framings, client=reflection, task=task, seed=seed):
        try:
            proposer.propose(trials)
        except BudgetExceeded as error:
            logger.warning("instruction search: %s", error)
    inner, full = _finalists(trials, whole, incumbent, spec.finalists)
    winner = min(full, key=lambda one: (-full[one], sum(map(len, one.texts))))
    favourite = trials.best()[0]
    judge = InstructionScorer(encoder, cache, documents, accepting, incumbent)
    comparison = paired_bootstrap(
        judge.score(winner).per_query, judge.score(incumbent).per_query, seed=seed, alpha=alpha
    )
    better = winner.texts != incumbent.texts
    kept = better and comparison.low > 0 and comparison.delta >= spec.min_effect
    reason = _reason(winner, comparison, kept=kept, better=better)
    if winner.texts != favourite.texts:
        reason += f"; the sub-corpus preferred '{favourite.query or 'none'}', the whole corpus decided"
    store.decide(trials.name_of(winner), accepted=kept, reason=reason)
    return Found(
        winner if kept else incumbent,
        winner,
        kept,
        comparison,
        len(trials.scores),
        reason,
        {one.query: value for one, value in inner.items()},
        {one.query: value for one, value in full.items()},
        winner.texts == favourite.texts,
    )


def _inner(whole: InstructionScorer, hard: int) -> InstructionScorer:
    """Return the scorer of the inner loop: judged passages and those hard for the incumbent or for BM25."""
    if not hard:
        return whole
    keyword = bm25_run(whole.documents, whole.split.queries, k=hard)
    return whole.among(subcorpus(whole, [whole.run(whole.incumbent, k=hard), keyword], hard))


def _finalists(
    trials: Trials, whole: InstructionScorer, incumbent: Instruction, count: int
) -> tuple[dict[Instruction, float], dict[Instruction, float]]:
    """Return the finalists' scores on the sub-corpus and on the whole one; the incumbent is always among them."""
    full: dict[Instruction, float] = {}
    task = corpus_task(whole.documents, whole.split)
    for one in dict.fromkeys((incumbent, *trials.best(count))):
        full[one] = score_with_mteb(
            whole.encoder, whole.cache, task, query_prefix=one.query_prefix, passage_prefix=one.passage_prefix
        )
        trials.store.finalist(trials.name_of(one), full=full[one], passages=len(whole.documents))
    return {one: trials.score_of(one) for one in full}, full


def _reason(winner: Instruction, comparison: Comparison, *, kept: bool, better: bool) -> str:
    if not better:
        return "kept what was there: nothing was better on the searching half"
    interval = f"{comparison.delta:+.4f} [{comparison.low:+.4f}, {comparison.high:+.4f}] on the accepting half"
    framed = f" with passages '{winner.passage}'" if winner.passage else ""
    return f"{'accepted' if kept else 'rolled back'} '{winner.query}'{framed}: {interval}"
