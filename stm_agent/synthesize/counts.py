"""Counts of a program at work: texts asked for, refused and repaired, calls paid, and what a trace shows of it."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, TypedDict

from stm_agent.errors import AnswersUnusable, BudgetExceeded, GenerationError
from stm_agent.llm.answer import Completion
from stm_agent.llm.call_record import CallRecord
from stm_agent.synthesize.drafts import Draft
from stm_agent.synthesize.report import WritingReport

if TYPE_CHECKING:
    import dspy

    from stm_agent.llm.client import LlmClient


class ProgramSample(TypedDict):
    """What a trace shows of a program: its instructions, its first chat, and what its answers cost, whoever paid."""

    instructions: str
    messages: list[dict[str, str]]
    answer: str
    calls: int
    tokens: int
    usd: float
    seconds: float


class WritingCounts:
    """Counts the drafts of a program, those that are used in the order of their requests.

    Attributes:
        refused: Texts that could not be used, by reason.
        asked: Texts asked for.
    """

    def __init__(self, client: LlmClient) -> None:
        """Begin with what the client's run has spent so far."""
        self.refused: Counter[str] = Counter()
        self.asked = 0
        self._budget, self._spent = client.budget, client.budget.spent
        self._repaired = self._misread = self._inputs_cut = self._tokens = self._calls = 0
        self._usd = self._seconds = 0.0
        self._first: Completion | None = None
        self._ahead, self._lock = 0, threading.Lock()

    def made(self, record: CallRecord) -> None:
        """Count the calls of an attempt that nobody has used yet; threads may call it at the same time."""
        with self._lock:
            self._ahead += record.calls

    def use(self, draft: Draft) -> None:
        """Count a draft whose texts are used or refused."""
        self._take(draft)
        self.asked += len(draft.texts)
        usable = sum(produced.fault is None for produced in draft.texts)
        self.refused.update(produced.fault for produced in draft.texts if produced.fault)
        self._repaired += usable if len(draft.records) > 1 else 0

    def misread(self, draft: Draft) -> None:
        """Count a draft in no readable format, whose texts another program is asked for."""
        self._take(draft)
        self._misread += sum(len(record.completions) for record in draft.records)
        self._first = None

    def _take(self, draft: Draft) -> None:
        for record in draft.records:
            self._inputs_cut += record.inputs_cut
            with self._lock:
                self._ahead -= record.calls
            for completion in record.completions:
                self._first = self._first or completion
                # Whichever run paid: a stage that is built from stored answers cost as much as they did.
                paid = completion.paid
                self._calls += paid.calls
                self._tokens += paid.prompt_tokens + paid.completion_tokens
                self._usd += paid.usd
                self._seconds += paid.seconds

    def report(self, written: int, ended: GenerationError | None = None, *, copied: int = 0) -> WritingReport:
        """Return the counts so far, and why the stage ended early if it did.

        Args:
            written: Texts that can be used.
            ended: What ended the stage early; None: it is whole.
            copied: Texts of these that are copied from their passage.
        """
        spent = self._budget.spent
        more = f" (paid calls that were under way: {self._ahead})" if ended and self._ahead else ""
        return WritingReport(
            asked=self.asked,
            written=written,
            refused=dict(self.refused),
            inputs_cut=self._inputs_cut,
            usd=spent.usd - self._spent.usd,
            calls=spent.calls - self._spent.calls,
            repaired=self._repaired,
            ended_by=f"{ended}{more}" if ended else None,
            over_budget=isinstance(ended, BudgetExceeded),
            unusable=isinstance(ended, AnswersUnusable),
            copied=copied,
            misread=self._misread,
        )

    def sample(self, program: dspy.Module) -> ProgramSample:
        """Return what a trace shows of a program: its instructions, its first chat, and what its answers cost."""
        first = self._first
        return {
            "instructions": "\n\n".join(predictor.signature.instructions for predictor in program.predictors()),
            "messages": [dict(message) for message in first.messages] if first else [],
            "answer": first.text if first else "",
            "calls": self._calls,
            "tokens": self._tokens,
            "usd": self._usd,
            "seconds": round(self._seconds, 3),
        }
