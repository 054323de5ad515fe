"""GEPA on an instruction: one component, per-query nDCG@10, feedback on failed queries.

The rollout is a search, not an LLM call, so it costs nothing: only reflection does. Per-query scores make GEPA's
Pareto selection work (Agrawal et al. 2025, arXiv 2507.19457).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.text import normalise
from stm_agent.errors import AnswerRejected, StmAgentError
from stm_agent.instruct.trials import Trials
from stm_agent.llm.checking import TextCheck
from stm_agent.llm.text import clean_text

if TYPE_CHECKING:
    from gepa.core.adapter import EvaluationBatch

    from stm_agent.llm.client import LlmClient

logger = logging.getLogger(__name__)
COMPONENT = "instruction"
SHOWN_FAILURES = 3
"""Failed queries that the reflecting LLM sees at a time."""
MINIBATCH = 8
"""Queries that GEPA compares a new candidate with its parent on, before all of them."""
SHOWN_LETTERS = 200
"""Characters of a passage that the reflecting LLM sees."""


@dataclass(frozen=True)
class Gepa:
    """A :class:`~stm_agent.instruct.proposers.Proposer` by reflection.

    Attributes:
        client: The LLM that reflects.
        task: The domain's task.
        reflections: Most calls to it; an unusable answer counts.
        seed: Seed of GEPA's choices.
    """

    client: LlmClient
    task: str
    reflections: int
    seed: int

    def propose(self, trials: Trials) -> None:
        """Reflect on failed queries, from the best candidate so far."""
        from gepa.api import optimize

        adapter = InstructionAdapter(trials, self.client, self.task)
        queries = list(trials.scorer.split.queries)
        optimize(
            seed_candidate={COMPONENT: trials.best()[0].query},
            trainset=queries,
            valset=queries,
            adapter=adapter,  # type: ignore[arg-type]
            reflection_minibatch_size=min(MINIBATCH, len(queries)),
            stop_callbacks=[lambda state: adapter.asked >= self.reflections or adapter.ended is not None],
            # A rollout is a search over cached vectors; the reflections are what is limited.
            max_metric_calls=(self.reflections + 2) * (len(queries) + 2 * MINIBATCH) * 4,
            skip_perfect_score=False,
            display_progress_bar=False,
            logger=_Quiet(),
            seed=self.seed,
        )
        if adapter.ended is not None:
            raise adapter.ended


class Failure(TypedDict):
    """A query as the reflecting LLM sees it.

    Attributes:
        query: Its text.
        score: Its nDCG@10.
        wanted: The passage of its highest grade.
        instead: The irrelevant passage that was found first; empty: none.
        why: At which rank the wanted one was, and which words the passages share with the query.
    """

    query: str
    score: float
    wanted: str
    instead: str
    why: str


class InstructionAdapter:
    """Implements ``gepa.core.adapter.GEPAAdapter``; a data instance is a query id."""

    def __init__(self, trials: Trials, client: LlmClient, task: str) -> None:
        """Take the trials, the reflecting LLM and the domain's task."""
        self.trials, self.client, self.task = trials, client, task
        self.asked = 0
        self.ended: StmAgentError | None = None

    def evaluate(
        self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False
    ) -> EvaluationBatch[Failure, str]:
        """Score a candidate on a batch of queries."""
        from gepa.core.adapter import EvaluationBatch

        instruction = self.trials.saying(candidate[COMPONENT], "reflection")
        per_query = self.trials.try_one(instruction).per_query
        scores = [per_query[query] for query in batch]
        traces = [self._trace(query, instruction, per_query[query]) for query in batch] if capture_traces else None
        return EvaluationBatch(outputs=list(batch), scores=scores, trajectories=traces)

    def _trace(self, query: str, instruction: Instruction, value: float) -> Failure:
        scorer = self.trials.scorer
        ranked = sorted(scorer.run(instruction)[query].items(), key=lambda hit: -hit[1])
        grades = scorer.split.qrels[query]
        wanted = max(grades, key=lambda document: grades[document])
        wrong = next((document for document, _ in ranked if not grades.get(document)), None)
        text, right = scorer.split.queries[query], scorer.documents.get(wanted, "")
        instead = scorer.documents[wrong] if wrong else ""
        return {
            "query": text,
            "score": value,
            "wanted": right,
            "instead": instead,
            "why": _why(text, right, instead, [document for document, _ in ranked], wanted),
        }

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],
        eval_batch: EvaluationBatch[Failure, str],
        components_to_update: list[str],
    ) -> dict[str, list[dict[str, object]]]:
        """Return the worst queries with the best-ranked irrelevant passage, and why it was ranked high."""
        worst = sorted(eval_batch.trajectories or [], key=lambda trace: trace["score"])[:SHOWN_FAILURES]
        return {component: [dict(trace) for trace in worst] for component in components_to_update}

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, object]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """Ask the reflecting LLM for a better text; keep the old one if the answer cannot be used."""
        try:
            return {name: self._better(candidate[name], reflective_dataset[name]) for name in components_to_update}
        except StmAgentError as error:
            # gepa catches what a proposal raises; it is raised again when the optimiser has stopped.
            self.ended = error
            return {name: candidate[name] for name in components_to_update}

    def _better(self, current: str, failures: Sequence[Mapping[str, object]]) -> str:
        self.asked += 1
        try:
            completion = self.client.complete(question(current, failures, self.task), rollout=self.asked)
        except AnswerRejected as error:
            self.trials.rejected[error.reason] += 1
            return current
        text = clean_text(completion.text, "instruction")
        tried = self.trials.offer(
            self.trials.saying(text, "reflection"),
            parent=self.trials.saying(current, ""),
            written=completion,
            shown=failures,
            fault=TextCheck("instruction").fault(text, completion.finish_reason),
        )
        return current if tried is None else text


class _Quiet:
    def log(self, message: str) -> None:
        logger.debug("gepa: %s", message)


def _why(query: str, wanted: str, instead: str, ranked: Sequence[str], document: str) -> str:
    """Return at which rank the relevant passage was, and which of the query's words the two passages share."""
    rank = f"at rank {ranked.index(document) + 1}" if document in ranked else f"below rank {len(ranked)}"
    words = set(normalise(query).split())
    shared = [sorted(words & set(normalise(text).split())) for text in (wanted, instead)]
    right, wrong = (", ".join(names[:6]) or "no word" for names in shared)
    return f"the wanted passage was {rank}; it shares with the query: {right}; the one found instead: {wrong}"


def question(current: str, failures: Sequence[Mapping[str, object]], task: str) -> list[dict[str, str]]:
    """Return the chat that asks for a better instruction."""
    shown = "\n\n".join(
        f"Query: {row['query']}\nWanted: {str(row['wanted'])[:SHOWN_LETTERS]}\n"
        f"Found instead: {str(row['instead'])[:SHOWN_LETTERS]}\nWhy: {row['why']}"
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
