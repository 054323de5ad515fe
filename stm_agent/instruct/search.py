"""Search the retrieval instruction on one half of dev, accept it on the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.domain.collection import Split, normalise
from stm_agent.domain.spec import InstructSpec
from stm_agent.errors import BudgetExceeded, ConfigError, GenerationError
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.significance import Comparison, paired_bootstrap
from stm_agent.files import sha256_text
from stm_agent.inspect.traces import Trace, TraceStore
from stm_agent.instruct.adapter import COMPONENT, InstructionAdapter
from stm_agent.instruct.instruction import Instruction, checked
from stm_agent.instruct.pool import write_pool
from stm_agent.instruct.scorer import InstructionScorer

if TYPE_CHECKING:
    from stm_agent.llm.door import Completion, Door

logger = logging.getLogger(__name__)
MINIBATCH = 8


@dataclass(frozen=True)
class Found:
    """The outcome of a search: the instruction to use, and why."""

    instruction: Instruction
    accepted: bool
    comparison: Comparison
    tried: int
    reason: str


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
    reflection: Door | None,
    spec: InstructSpec,
    alpha: float,
    trace: Path,
    seed: int,
    task: str,
) -> Found:
    """Try seeds, a pool and GEPA's reflections; accept the best only where the other half of dev agrees.

    A candidate is accepted when its paired interval on the accepting half excludes 0 and it gains at least
    ``spec.min_effect``; of equal ones the shorter is taken. Each candidate is a trace.
    """
    searching, accepting = halves(collection_dev)
    scorer = InstructionScorer(encoder, cache, documents, searching, incumbent)
    bench = _Trials(scorer, TraceStore(trace), encoder.identity)
    for candidate in (incumbent, *seeds):
        bench.try_one(candidate)
    if reflection is not None and spec.pool:
        write_pool(reflection, task=task, count=spec.pool, usable=bench.try_generic)
    if reflection is not None and spec.reflections:
        _reflect(bench, reflection, spec, seed, task)
    best = min(bench.scores, key=lambda text: (-bench.scores[text], len(text)))
    judge = InstructionScorer(encoder, cache, documents, accepting, incumbent)
    winner = incumbent.saying(best, bench.origin[best])
    comparison = paired_bootstrap(
        judge.score(winner).per_query, judge.score(incumbent).per_query, seed=seed, alpha=alpha
    )
    kept = best != incumbent.query and comparison.low > 0 and comparison.delta >= spec.min_effect
    interval = f"{comparison.delta:+.4f} [{comparison.low:+.4f}, {comparison.high:+.4f}] on the accepting half"
    if best == incumbent.query:
        reason = "kept what was there: nothing was better on the searching half"
    else:
        reason = f"{'accepted' if kept else 'rolled back'} '{best}': {interval}"
    bench.store.decide(bench.trial[best], accepted=kept, reason=reason)
    return Found(winner if kept else incumbent, kept, comparison, len(bench.scores), reason)


class _Trials:
    """Scores candidates on the searching half and writes a trace of each."""

    def __init__(self, scorer: InstructionScorer, store: TraceStore, model: str) -> None:
        self.scorer, self.store, self.model = scorer, store, model
        self.scores: dict[str, float] = {}
        self.origin: dict[str, str] = {}
        self.trial: dict[str, str] = {}

    def try_one(
        self, candidate: Instruction, *, parent: str | None = None, reflected: Completion | None = None
    ) -> float:
        if candidate.query in self.scores:
            return self.scores[candidate.query]
        scores = self.scorer.score(candidate)
        self.scores[candidate.query] = scores.ndcg_at_10
        self.origin[candidate.query] = candidate.origin
        self.trial[candidate.query] = self.store.add(
            Trace(
                lever="instruction",
                text=candidate.query,
                origin=candidate.origin,
                model=self.model[:16],
                parent=self.trial.get(parent) if parent is not None else None,
                mean=scores.ndcg_at_10,
                per_query=dict(scores.per_query),
                messages=[dict(message) for message in reflected.messages] if reflected else [],
                answer=reflected.text if reflected else "",
                tokens=reflected.prompt_tokens + reflected.completion_tokens if reflected else 0,
                usd=reflected.usd if reflected else 0.0,
            )
        )
        return scores.ndcg_at_10

    def try_generic(self, text: str, written: Completion) -> bool:
        """Try an instruction of the pool; return whether it is usable and new."""
        if reason := _fault(text, self.scores):
            self.refuse(text, None, written, reason, origin="pool")
            return False
        self.try_one(Instruction(text, "", "pool"), reflected=written)
        return True

    def refuse(
        self, text: str, parent: str | None, reflected: Completion, reason: str, *, origin: str = "reflection"
    ) -> None:
        trace = Trace(
            lever="instruction",
            text=text,
            origin=origin,
            model=self.model[:16],
            parent=self.trial.get(parent) if parent is not None else None,
            messages=[dict(message) for message in reflected.messages],
            answer=reflected.text,
            reason=f"refused: {reason}",
        )
        self.store.decide(self.store.add(trace), accepted=False, reason=f"refused: {reason}")


def _reflect(bench: _Trials, door: Door, spec: InstructSpec, seed: int, task: str) -> None:
    from gepa.api import optimize

    asked = [0]

    def propose(current: str, failures: Sequence[Mapping[str, Any]]) -> str:
        asked[0] += 1
        try:
            done = door.complete(_question(current, failures, task), rollout=asked[0])
        except BudgetExceeded:
            raise
        except GenerationError as error:
            logger.warning("reflection failed: %s", error)
            return current
        text = done.text.strip().splitlines()[0].strip().strip("\"'*` ") if done.text.strip() else ""
        reason = _fault(text, bench.scores)
        if reason:
            bench.refuse(text, current, done, reason)
            return current
        bench.try_one(Instruction(text, "", "reflection"), parent=current, reflected=done)
        return text

    start = min(bench.scores, key=lambda text: (-bench.scores[text], len(text)))
    queries = list(bench.scorer.split.queries)
    try:
        optimize(
            seed_candidate={COMPONENT: start},
            trainset=queries,
            valset=queries,
            adapter=InstructionAdapter(bench.scorer, propose),  # type: ignore[arg-type]
            reflection_minibatch_size=min(MINIBATCH, len(queries)),
            stop_callbacks=[lambda state: asked[0] >= spec.reflections],
            # A rollout is a look at kept vectors; the reflections are what is limited.
            max_metric_calls=(spec.reflections + 2) * (len(queries) + 2 * MINIBATCH) * 4,
            skip_perfect_score=False,
            display_progress_bar=False,
            logger=_Quiet(),
            seed=seed,
        )
    except BudgetExceeded as error:
        logger.warning("reflection stopped: %s", error)


class _Quiet:
    def log(self, message: str) -> None:
        logger.debug("gepa: %s", message)


def _question(current: str, failures: Sequence[Mapping[str, Any]], task: str) -> list[dict[str, str]]:
    shown = "\n\n".join(
        f"Query: {row['query']}\nWanted: {row['wanted'][:200]}\nFound instead: {row['instead'][:200]}"
        for row in failures
    )
    return [
        {"role": "system", "content": "You write the one-sentence instruction that stands in front of search queries."},
        {
            "role": "user",
            "content": f"Task: {task}\nInstruction now: {current or '(none)'}\nThese searches failed:\n\n{shown}\n\n"
            "Write one better instruction, at most twenty words. Answer with the instruction only.",
        },
    ]


def _fault(text: str, known: Mapping[str, float]) -> str | None:
    try:
        checked(text)
    except ConfigError as error:
        return str(error)
    if normalise(text) in {normalise(other) for other in known}:
        return "repeats a candidate that was tried"
    return None
