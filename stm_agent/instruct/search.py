"""Search the retrieval instruction on the search half of dev."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import InstructSpec
from stm_agent.evaluate.baselines import bm25_run
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.cached import corpus_task, score_with_mteb
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.subcorpus import subcorpus
from stm_agent.instruct.finalist import Finalist
from stm_agent.instruct.proposers import proposers
from stm_agent.instruct.scorer import InstructionScorer
from stm_agent.instruct.trials import Trials
from stm_agent.traces import TraceStore

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Result of a search on the search half of dev. The gate decides whether the winner is accepted.

    Attributes:
        winner: The best candidate over the whole corpus; the incumbent if nothing is better.
        incumbent: The instruction to beat.
        trial: Name of the winner's trial in the trace store.
        tried: Candidates that were scored.
        finalists: Candidates that were scored over the whole corpus; the incumbent is always among them.
        favourite: The best candidate over the sub-corpus.
        rejected: Answers of the reflecting LLM that nothing could be read from, by reason.
    """

    winner: Instruction
    incumbent: Instruction
    trial: str
    tried: int
    finalists: tuple[Finalist, ...]
    favourite: Instruction
    rejected: Mapping[str, int]

    @property
    def agree(self) -> bool:
        """Whether sub-corpus and whole corpus have the same winner."""
        return self.winner.texts == self.favourite.texts


def search_instruction(
    *,
    encoder: Encoder,
    cache: EmbeddingCache,
    searching: Split,
    documents: Mapping[str, str],
    seeds: Sequence[Instruction],
    incumbent: Instruction,
    reflection: LlmClient | None,
    spec: InstructSpec,
    trace: Path,
    seed: int,
    task: str,
    framings: Sequence[Instruction] = (),
) -> SearchResult:
    """Try seeds, a pool, an LLM's reflections and passage instructions on the search half of dev.

    Candidates are scored on a sub-corpus (judged passages and hard ones), the finalists on the whole corpus by mteb.
    Of equal candidates the shorter wins. "No instruction" is a candidate in every search. Each candidate is a trace.

    Args:
        encoder: The model.
        cache: Cached vectors.
        searching: The search half of dev.
        documents: The whole corpus.
        seeds: Instructions that people wrote.
        incumbent: The instruction to beat.
        reflection: Client of the LLM that writes candidates; None: seeds only.
        spec: Optimiser and number of candidates.
        trace: File of the trace store.
        seed: Seed of the optimiser.
        task: One line: what a query is and what should be found.
        framings: Passage instructions that people wrote.

    Raises:
        GenerationError: The reflecting LLM cannot be reached, or its budget is spent.
    """
    whole = InstructionScorer(encoder, cache, documents, searching, incumbent)
    trials = Trials(_inner(whole, spec.hard), TraceStore(trace))
    trials.try_one(incumbent)
    if incumbent.unsaid().texts != incumbent.texts:
        trials.try_one(incumbent.unsaid())
    for proposer in proposers(spec, seeds=seeds, framings=framings, client=reflection, task=task, seed=seed):
        proposer.propose(trials)
    return _result(trials, _finalists(trials, whole, incumbent, spec.finalists), incumbent)


def _result(trials: Trials, finalists: tuple[Finalist, ...], incumbent: Instruction) -> SearchResult:
    """Return the result: the best finalist wins, of equal ones the shortest."""
    winner = min(finalists, key=lambda finalist: (-finalist.full, _length(finalist.instruction))).instruction
    return SearchResult(
        winner=winner,
        incumbent=incumbent,
        trial=trials.name_of(winner),
        tried=len(trials.scores),
        finalists=finalists,
        favourite=trials.best()[0],
        rejected=dict(trials.rejected),
    )


def _inner(whole: InstructionScorer, hard: int) -> InstructionScorer:
    """Return the scorer of the inner loop: judged passages and those hard for the incumbent or for BM25."""
    if not hard:
        return whole
    keyword = bm25_run(whole.documents, whole.split.queries, hard, whole.split.ignored_ids)
    runs = [whole.run(whole.incumbent, k=hard), keyword]
    return whole.among(subcorpus(whole.documents, whole.split, runs, hard))


def _finalists(trials: Trials, whole: InstructionScorer, incumbent: Instruction, count: int) -> tuple[Finalist, ...]:
    """Return the finalists with their scores on the sub-corpus and on the whole one."""
    finalists = []
    task = corpus_task(whole.documents, whole.split)
    for candidate in dict.fromkeys((incumbent, *trials.best(count))):
        full = score_with_mteb(
            whole.encoder,
            whole.cache,
            task,
            query_prefix=candidate.query_prefix,
            passage_prefix=candidate.passage_prefix,
        )
        trials.store.finalist(trials.name_of(candidate), full=full, passages=len(whole.documents))
        finalists.append(Finalist(instruction=candidate, inner=trials.score_of(candidate), full=full))
    return tuple(finalists)


def _length(instruction: Instruction) -> int:
    return sum(map(len, instruction.texts))
