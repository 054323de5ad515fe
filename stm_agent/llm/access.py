"""How a job reaches an LLM: a value that another process can open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from stm_agent.clock import stored_seconds
from stm_agent.llm.budget import Budget, Spending
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
    """

    options: LlmOptions
    cache: Path
    ledger: Path
    usd: float | None = None
    minutes: float | None = None
    calls: int | None = None
    clock: Path | None = None
    answered: int | None = None

    def key(self) -> object:
        """Return what decides the answers, as JSON values; ceilings decide whether a job ends, not what it gives."""
        identity = self.options.identity
        return identity if self.answered is None else [identity, self.ledger.parent.name, self.answered]

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
        asks = self.answered is None
        return open_client(self.options, cache=self.cache, ledger=self.ledger, budget=budget, asks=asks)


def spending(ledger: Path) -> Spending:
    """Return what a ledger's calls cost together."""
    budget = Budget()
    budget.resume(ledger)
    return budget.spent
