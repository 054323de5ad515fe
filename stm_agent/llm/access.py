"""The way to an LLM as a value: which model, where answers are cached, and what may be spent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from stm_agent.clock import RunClock, stored_seconds
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.options import LlmOptions


@dataclass(frozen=True, kw_only=True)
class LlmAccess:
    """What a job needs to ask an LLM.

    Attributes:
        options: Model, temperature, token limit, prices.
        cache: Folder of answers; shared by all runs of a workspace.
        ledger: The run's file of paid calls; what it holds counts against the ceilings.
        clock: Folder of the run's clock, for the ceiling of minutes; None: minutes are counted from now.
        usd: Ceiling in US dollars; None: no ceiling.
        minutes: Ceiling in minutes of wall time; None: no ceiling.
        answered: Number of calls paid when asking was given up: only cached answers are used, and the rest is counted
            as refused. None: ask.
    """

    options: LlmOptions
    cache: Path
    ledger: Path
    clock: Path | None = None
    usd: float | None = None
    minutes: float | None = None
    answered: int | None = None

    def key(self) -> object:
        """Return what decides the answers, as JSON values. Ceilings decide whether a job ends, not what it gives."""
        identity = self.options.identity
        return identity if self.answered is None else [identity, str(self.ledger.parent.name), self.answered]

    def without_asking(self, answered: int) -> LlmAccess:
        """Return the access that gives cached answers only."""
        return replace(self, answered=answered)

    def open(self) -> LlmClient:
        """Open a client; the caller closes it.

        Raises:
            ConfigError: LiteLLM does not know the model, or a dollar ceiling meets a model without a known price.
        """
        from stm_agent.llm.open import open_client

        clock, folder = RunClock(self.clock or Path()), self.clock
        elapsed = (lambda: stored_seconds(folder)) if folder else (lambda: clock.own_seconds)
        budget = Budget(usd=self.usd, minutes=self.minutes, elapsed=elapsed)
        return open_client(
            self.options, cache=self.cache, ledger=self.ledger, budget=budget, asks=self.answered is None
        )
