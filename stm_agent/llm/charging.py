"""What calls cost: charged to the budget, and written into the ledger of the run."""

from __future__ import annotations

from dataclasses import replace

from stm_agent.errors import AnswerRejected, GenerationError
from stm_agent.llm.answer import BROKEN, NO_ANSWER, Answer
from stm_agent.llm.budget import Budget, Spending
from stm_agent.llm.facts import ModelFacts
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.store import CallLedger, LlmRequest
from stm_agent.llm.tokens import chat_tokens, rough_tokens


def cost_of(answer: Answer, seconds: float) -> Spending:
    """Return what an answer cost, with the retries until it came."""
    return Spending(
        usd=answer.usd or 0.0,
        calls=answer.tries,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=seconds,
    )


class Charges:
    """Counts the calls of one client; safe between threads."""

    def __init__(self, options: LlmOptions, facts: ModelFacts, budget: Budget, ledger: CallLedger) -> None:
        """Take the prices, and where costs are counted."""
        self._options, self._facts, self._budget, self._ledger = options, facts, budget, ledger

    def highest(self, request: LlmRequest) -> float:
        """Return the most that a request can cost in US dollars; 0 if its price is unknown."""
        return self._facts.cost(chat_tokens(request.chat), request.max_tokens + self._facts.headroom) or 0.0

    def priced(self, answer: Answer) -> Answer:
        """Return an answer with its price: the user's, else the provider's own, else that of the list."""
        if self._options.price is None and answer.usd is not None:
            return answer
        return replace(answer, usd=self._facts.cost(answer.prompt_tokens, answer.completion_tokens))

    def add(self, request: LlmRequest, answer: Answer, seconds: float, *, rejected: str | None = None) -> None:
        """Count a call."""
        self._charge(cost_of(answer, seconds))
        self._ledger.record(request, answer, seconds, rejected=rejected)

    def add_failure(self, request: LlmRequest, error: GenerationError, text: str, seconds: float) -> None:
        """Count a call that failed; what was written until then is counted by an estimate."""
        rejected = error.reason if isinstance(error, AnswerRejected) else None
        if text:
            self.add_partial(request, text, BROKEN, seconds, tries=max(error.tries, 1))
        elif error.tries:
            failed = Answer("", 0, 0, 0.0, finish_reason=rejected or NO_ANSWER, tries=error.tries)
            self.add(request, failed, seconds, rejected=rejected)

    def add_partial(self, request: LlmRequest, text: str, reason: str, seconds: float, *, tries: int = 1) -> None:
        """Count an answer that broke off, by an estimate."""
        read, written = chat_tokens(request.chat), rough_tokens(text) if text else 0
        cost = self._facts.cost(read, written)
        self.add(request, Answer(text, read, written, cost, finish_reason=reason, tries=tries), seconds)

    def add_stored(self, request: LlmRequest, paid: Spending) -> None:
        """Count what a stored answer cost when it was paid for; the ledger must not hold it yet.

        Raises:
            BudgetExceeded: A ceiling is reached, or the answer would pass it.
        """
        with self._budget.reserve(paid.usd, waits=True):
            self._charge(paid)
            answer = Answer("", paid.prompt_tokens, paid.completion_tokens, paid.usd, tries=paid.calls)
            self._ledger.record(request, answer, paid.seconds, stored=True)

    def _charge(self, paid: Spending) -> None:
        self._budget.charge(paid.usd, paid.prompt_tokens, paid.completion_tokens, paid.seconds, calls=paid.calls)
