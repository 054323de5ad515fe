"""Options of one run."""

from __future__ import annotations

from dataclasses import dataclass

from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.llm.options import DEFAULT_GENERATOR, LlmOptions, read_options


@dataclass(frozen=True, kw_only=True)
class Options:
    """Flags of ``stm-agent optimize``; all but ceilings, prices, width and name are part of the run's identity.

    Attributes:
        seed: Seed of batches, searches and tests; None: the domain's first.
        rounds: Passes through the levers; None: the domain's.
        generator: LiteLLM name of the LLM that writes.
        reflection: LiteLLM name of the LLM that reflects on instructions; None: the generator.
        api_base: Base URL of an OpenAI-compatible server; None: the provider's own.
        parallel: Texts that the LLM is asked for at a time; None: what suits the model.
        price_in: US dollars per million prompt tokens, for a model whose price LiteLLM does not know.
        price_out: US dollars per million completion tokens.
        budget_usd: Ceiling on LLM money; None: no ceiling.
        budget_minutes: Ceiling on minutes, over all processes of the run: no lever starts after it; None: no ceiling.
        starts: Models that race for the place of the backbone, in place of the domain's own choice; ``auto``: those
            within reach of every machine. Empty: as the domain says.
        controls: Also train all sources in one adapter with the same number of steps.
        run_id: Name of the run folder; None: made of domain and identity.
        fresh: Begin a new run even if one with the same inputs exists.
    """

    seed: int | None = None
    rounds: int | None = None
    generator: str = DEFAULT_GENERATOR
    reflection: str | None = None
    api_base: str | None = None
    parallel: int | None = None
    price_in: float | None = None
    price_out: float | None = None
    budget_usd: float | None = None
    budget_minutes: float | None = None
    starts: tuple[str, ...] = ()
    controls: bool = False
    run_id: str | None = None
    fresh: bool = False

    def seed_of(self, spec: DomainSpec) -> int:
        """Return the seed of a run of this domain."""
        return spec.seeds[0] if self.seed is None else self.seed

    def rounds_of(self, spec: DomainSpec) -> int:
        """Return the number of rounds of a run of this domain.

        Raises:
            ConfigError: It is below 1.
        """
        rounds = spec.loop.rounds if self.rounds is None else self.rounds
        if rounds < 1:
            raise ConfigError(f"--rounds {rounds} does no work; use 1 or more")
        return rounds

    def llm(self, spec: DomainSpec, model: str) -> LlmOptions:
        """Return the options of one LLM, with the domain's temperature and token limit."""
        return read_options(
            {
                "model": model,
                "api_base": self.api_base,
                "temperature": spec.synthesize.temperature,
                "max_tokens": spec.synthesize.max_tokens,
                "width": self.parallel,
                "price_in": self.price_in,
                "price_out": self.price_out,
            }
        )
