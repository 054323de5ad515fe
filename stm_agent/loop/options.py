"""Options of one run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from stm_agent.domain.spec import DomainSpec, SynthesizeSpec
from stm_agent.domain.synthesize_spec import STRUCTURED
from stm_agent.errors import ConfigError
from stm_agent.execute.cluster import check_address
from stm_agent.llm.options import DEFAULT_GENERATOR, LlmOptions, read_options

PolicyName = Literal["stm", "random", "gain-per-cost", "tpe", "planner"]
POLICIES: tuple[PolicyName, ...] = ("stm", "random", "gain-per-cost", "tpe", "planner")

PLANNED_MINUTES = 30.0
"""Ceiling on the minutes of a run whose experts are planned, if the user sets none."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Flags of ``stm-agent optimize``; ceilings, prices, width, name and executor are not part of the run's identity.

    Attributes:
        seed: Seed of batches, searches and tests; None: the domain's first.
        rounds: Passes through the levers; None: the domain's. With another policy than ``stm``: rounds of training
            data, at most; None: no such bound.
        generator: LiteLLM name of the LLM that writes.
        reflection: LiteLLM name of the LLM that reflects on instructions; None: the generator.
        api_base: Base URL of an OpenAI-compatible server; None: the provider's own.
        structured: Whether programs may ask for several typed outputs; None: as the domain says.
        parallel: Texts that the LLM is asked for at a time; None: what suits the model.
        price_in: US dollars per million prompt tokens, for a model whose price LiteLLM does not know.
        price_out: US dollars per million completion tokens.
        budget_usd: Ceiling on LLM money; None: no ceiling.
        budget_minutes: Ceiling on minutes, over all processes of the run: no lever starts in the last tenth of it,
            which is for export and test; None: no ceiling, and of a run whose experts are planned that of
            :meth:`with_ceiling`.
        budget_calls: Ceiling on LLM calls, retries included; None: no ceiling.
        starts: Models that race for the place of the backbone, in place of the domain's own choice; ``auto``: those
            within reach of every machine. Empty: as the domain says.
        policy: What decides which action is next.
        planner_share: Share of the decisions that policy ``planner`` asks its LLM for.
        patience: Actions in a row that bring nothing after which the search ends; None: the policy's own; of ``stm``:
            never.
        target: nDCG@10 on the search half at which the search ends; None: none.
        controls: Also train all sources in one adapter with the same number of steps.
        run_id: Name of the run folder; None: made of domain and identity.
        fresh: Begin a new run even if one with the same inputs exists.
        executor: Where jobs run: ``inline``, ``ray`` (the Ray cluster of this machine or of ``RAY_ADDRESS``, else a new
            one) or ``ray://HOST:PORT``. Decides no result.
        artefacts: fsspec URL at which machines exchange finished stages; None: all see the folder of runs.
        command: The command line as it was typed, which the run keeps for its page; empty: not from a command line.
    """

    seed: int | None = None
    rounds: int | None = None
    generator: str = DEFAULT_GENERATOR
    reflection: str | None = None
    api_base: str | None = None
    structured: str | None = None
    parallel: int | None = None
    price_in: float | None = None
    price_out: float | None = None
    budget_usd: float | None = None
    budget_minutes: float | None = None
    budget_calls: int | None = None
    policy: PolicyName = "stm"
    planner_share: float = 0.3
    patience: int | None = None
    target: float | None = None
    starts: tuple[str, ...] = ()
    controls: bool = False
    run_id: str | None = None
    fresh: bool = False
    executor: str = "inline"
    artefacts: str | None = None
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that no policy can use.

        Raises:
            ConfigError: The policy, the executor or a choice does not exist, or a number is out of its range.
        """
        check_address(self.executor)
        if self.policy not in POLICIES:
            raise ConfigError(f"--policy {self.policy} does not exist; use {', '.join(POLICIES)}")
        if self.structured not in (None, *STRUCTURED):
            raise ConfigError(f"--structured {self.structured} does not exist; use {', '.join(STRUCTURED)}")
        if not 0 <= self.planner_share <= 1:
            raise ConfigError(f"--planner-share {self.planner_share:g} is not a share; use 0 to 1")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"--patience {self.patience} ends every search at once; use 1 or more")
        if self.target is not None and not 0 < self.target <= 1:
            raise ConfigError(f"--target {self.target:g} cannot be an nDCG@10; use a value above 0 and at most 1")

    def with_ceiling(self, *, planned: bool) -> Options:
        """Return the flags with the ceiling on minutes that a run has, in its identity and everywhere else.

        Args:
            planned: Whether the run plans its experts from its data (``DomainSpec.planned``). It then has
                :data:`PLANNED_MINUTES` if the user sets none; a domain that lists its experts has no ceiling then.
        """
        return replace(self, budget_minutes=PLANNED_MINUTES) if planned and self.budget_minutes is None else self

    def search_flags(self) -> dict[str, object]:
        """Return the flags that decide the course of the search, without those that are as usual."""
        usual = Options()
        names = ["policy", "patience", "target", *(["planner_share"] if self.policy == "planner" else [])]
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(usual, name)}

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

    def with_structured(self, spec: DomainSpec) -> DomainSpec:
        """Return the domain with the flag about typed outputs in place of its own choice."""
        if self.structured is None:
            return spec
        return spec.model_copy(update={"synthesize": self.writing(spec.synthesize)})

    def writing(self, spec: SynthesizeSpec) -> SynthesizeSpec:
        """Return how an LLM writes, with the flag about typed outputs in place of the choice of ``spec``."""
        return spec if self.structured is None else spec.model_copy(update={"structured": self.structured})

    def llm(self, spec: DomainSpec, model: str) -> LlmOptions:
        """Return the options of one LLM, with the domain's temperature and token limit."""
        return self.llm_of(spec.synthesize, model)

    def llm_of(self, spec: SynthesizeSpec, model: str) -> LlmOptions:
        """Return the options of one LLM, with the temperature and the token limit of what is written."""
        return read_options(
            {
                "model": model,
                "api_base": self.api_base,
                "temperature": spec.temperature,
                "max_tokens": spec.max_tokens,
                "width": self.parallel,
                "price_in": self.price_in,
                "price_out": self.price_out,
            }
        )
