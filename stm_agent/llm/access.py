"""How a job reaches an LLM: a value that another process can open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stm_agent.clock import stored_seconds
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.open import open_client
from stm_agent.llm.options import LlmOptions


@dataclass(frozen=True)
class LlmAccess:
    """A model, where its answers and costs are written, and the ceilings of the run.

    Attributes:
        options: Which LLM, how it samples, what it costs.
        cache: Folder of answers, shared by runs.
        ledger: JSONL file of the calls of the run.
        usd: Ceiling of the run in US dollars; None: none.
        minutes: Ceiling of the run in minutes; None: none.
        clock: Folder where the run's processes store their seconds; None: minutes count from opening.
    """

    options: LlmOptions
    cache: Path
    ledger: Path
    usd: float | None = None
    minutes: float | None = None
    clock: Path | None = None

    def key(self) -> str:
        """Return the hash of what decides the answers."""
        return self.options.identity()

    def open(self) -> LlmClient:
        """Open a client whose spending, with what the ledger holds, counts against the ceilings.

        Raises:
            ConfigError: LiteLLM does not know the model, or there is a cap in dollars and nobody knows the price.
        """
        clock = self.clock
        elapsed = (lambda: stored_seconds(clock)) if clock is not None else None
        budget = Budget(usd=self.usd, minutes=self.minutes, elapsed=elapsed)
        return open_client(self.options, cache=self.cache, ledger=self.ledger, budget=budget)
