"""The trials of a search: every candidate is checked, scored on the search half, and recorded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING

from stm_agent.backbone.instruction import Instruction, checked
from stm_agent.domain.text import normalise
from stm_agent.errors import ConfigError
from stm_agent.evaluate.metrics import Scores, score
from stm_agent.instruct.scorer import InstructionScorer
from stm_agent.progress import safe_point
from stm_agent.traces import Trace, TraceStore

if TYPE_CHECKING:
    from stm_agent.llm.answer import Completion

SHOWN = 3
"""Passages of each query that a trace names."""
TITLE = 90
"""Characters of a passage that a trace holds."""


class Trials:
    """Candidates tried so far, with scores by (query instruction, passage instruction)."""

    def __init__(self, scorer: InstructionScorer, store: TraceStore) -> None:
        """Score candidates by ``scorer`` and record them in ``store``."""
        self.scorer, self.store = scorer, store
        self.tried: dict[tuple[str, str], Instruction] = {}
        self.scores: dict[tuple[str, str], Scores] = {}
        self.rejected: Counter[str] = Counter()
        """Answers of the reflecting LLM that nothing could be read from, by reason."""
        self._names: dict[tuple[str, str], str] = {}

    def try_one(
        self,
        candidate: Instruction,
        *,
        parent: Instruction | None = None,
        written: Completion | None = None,
        shown: Sequence[Mapping[str, object]] = (),
    ) -> Scores:
        """Score a candidate, or return the scores that it has.

        Args:
            candidate: The instruction.
            parent: The one it was made from.
            written: The LLM's answer it was read from.
            shown: Examples that the LLM was shown.
        """
        if candidate.texts in self.scores:
            return self.scores[candidate.texts]
        safe_point()
        began = time.monotonic()
        run = self.scorer.run(candidate)
        scores = score(run, self.scorer.split.qrels)
        top = {query: sorted(ranking, key=lambda name: -ranking[name])[:SHOWN] for query, ranking in run.items()}
        self.tried[candidate.texts], self.scores[candidate.texts] = candidate, scores
        trace = replace(
            self._trace(candidate, parent, written, shown),
            mean=scores.ndcg_at_10,
            per_query=dict(scores.per_query),
            passages=len(self.scorer.documents),
            top=top,
            seconds=round(time.monotonic() - began + (written.seconds if written else 0.0), 4),
        )
        self._names[candidate.texts] = self.store.add(trace)
        self.store.describe(self.scorer.split.queries, self._titles(top))
        return scores

    def offer(
        self,
        candidate: Instruction,
        *,
        parent: Instruction | None = None,
        written: Completion | None = None,
        shown: Sequence[Mapping[str, object]] = (),
        fault: str | None = None,
    ) -> Scores | None:
        """Try a candidate if it can be used; else record why not and return None.

        Args:
            candidate: The instruction.
            parent: The one it was made from.
            written: The LLM's answer it was read from.
            shown: Examples that the LLM was shown.
            fault: Why the LLM's answer cannot be used; None: not known yet.
        """
        if reason := fault or self.fault(candidate):
            trial = self.store.add(self._trace(candidate, parent, written, shown))
            self.store.decide(trial, accepted=False, reason=f"refused: {reason}")
            return None
        return self.try_one(candidate, parent=parent, written=written, shown=shown)

    def fault(self, candidate: Instruction) -> str | None:
        """Return why a candidate cannot be tried; None: it can."""
        try:
            for text in candidate.texts:
                if text or not any(candidate.texts):
                    checked(text)
        except ConfigError as error:
            return str(error)
        if tuple(map(normalise, candidate.texts)) in {tuple(map(normalise, texts)) for texts in self.scores}:
            return "repeats a candidate that was tried"
        room = self.scorer.encoder.room(candidate.query_prefix)
        if room is not None and room < self._wanted:
            return f"leaves {max(room, 0)} tokens of the window for queries that have {self._wanted}"
        return None

    def saying(self, query: str, origin: str) -> Instruction:
        """Return the candidate with the query instruction ``query`` and the incumbent's passage instruction."""
        return self.scorer.incumbent.saying(query, origin)

    def best(self, count: int = 1) -> list[Instruction]:
        """Return the best candidates; of equal ones the shorter first."""
        order = sorted(
            self.tried.values(), key=lambda candidate: (-self.score_of(candidate), sum(map(len, candidate.texts)))
        )
        return order[:count]

    def score_of(self, candidate: Instruction) -> float:
        """Return nDCG@10 of a candidate that was tried."""
        return self.scores[candidate.texts].ndcg_at_10

    def name_of(self, candidate: Instruction) -> str:
        """Return the trial of a candidate that was tried."""
        return self._names[candidate.texts]

    @cached_property
    def _wanted(self) -> int:
        """Number of tokens of the median query."""
        whole = self.scorer.encoder.room("")
        left = [self.scorer.encoder.room(text) for text in self.scorer.split.queries.values()]
        return int(median((whole or 0) - (room or 0) for room in left))

    def _trace(
        self,
        candidate: Instruction,
        parent: Instruction | None,
        written: Completion | None,
        shown: Sequence[Mapping[str, object]],
    ) -> Trace:
        return Trace(
            lever="instruction",
            text=candidate.query,
            passage=candidate.passage,
            origin=candidate.origin,
            model=self.scorer.encoder.identity[:16],
            parent=self._names.get(parent.texts) if parent is not None else None,
            messages=[dict(message) for message in written.messages] if written else [],
            answer=written.text if written else "",
            shown=[dict(example) for example in shown],
            tokens=written.prompt_tokens + written.completion_tokens if written else 0,
            usd=written.usd if written else 0.0,
            seconds=round(written.seconds, 4) if written else 0.0,
        )

    def _titles(self, top: Mapping[str, Sequence[str]]) -> dict[str, str]:
        named = {document for ranking in top.values() for document in ranking}
        named |= {document for grades in self.scorer.split.qrels.values() for document in grades}
        texts = self.scorer.documents
        return {name: " ".join(texts[name].split())[:TITLE] for name in named if name in texts}
