"""How a job reaches an LLM: a value that another process can open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from stm_agent.clock import stored_seconds
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.open import open_client
from stm_agent.llm.options import LlmOptions


@dataclass(frozen=True, kw_only=True)
class LlmAccess:
    """A model, where its answers and costs are written, and the ceilings of the run.

    Attributes:
        options: Which LLM, how it samples, what it costs.
        cache: Folder of answers, shared by runs.
        ledger: JSONL file of the calls of the run.
        usd: Ceiling of the run in US dollars; None: none.
        minutes: Ceiling of the run in minutes; None: none.
        calls: Ceiling of the run in calls, retries included; None: none.
        clock: Folder where the run's processes store their seconds; None: minutes count from opening.
        answered: Calls in the ledger when asking was given up: cached answers are used, all others are refused and
            counted. None: ask.
        counts_stored: Answers that were paid for before count at their first cost, so that models are compared with
            equal ceilings. The ledger must be of that comparison alone.
    """

    options: LlmOptions
    cache: Path
    ledger: Path
    usd: float | None = None
    minutes: float | None = None
    calls: int | None = None
    clock: Path | None = None
    answered: int | None = None
    counts_stored: bool = False

    def key(self) -> object:
        """Return what decides the answers, as JSON values; ceilings decide whether a job ends, not what it gives."""
        identity, own = self.options.identity, [self.ledger.parent.name, self.ledger.stem]
        if self.answered is not None:
            return [identity, *own, self.answered]
        # A stage that another ledger paid for would cost this one nothing.
        return [identity, *own] if self.counts_stored else identity

    def as_judge(self, model: str) -> LlmAccess:
        """Return the access to an LLM that judges, with the same cache, ledger and ceilings."""
        return replace(self, options=self.options.as_judge(model))

    def without_asking(self, answered: int) -> LlmAccess:
        """Return the access that gives cached answers only."""
        return replace(self, answered=answered)

    def open(self) -> LlmClient:
        """Open a client whose spending, with what the ledger holds, counts against the ceilings.

        Raises:
            ConfigError: LiteLLM does not know the model, or there is a cap in dollars and nobody knows the price.
        """
        clock = self.clock
        elapsed = (lambda: stored_seconds(clock)) if clock is not None else None
        budget = Budget(usd=self.usd, minutes=self.minutes, calls=self.calls, elapsed=elapsed)
        return open_client(
            self.options,
            cache=self.cache,
            ledger=self.ledger,
            budget=budget,
            asks=self.answered is None,
            counts_stored=self.counts_stored,
        )
