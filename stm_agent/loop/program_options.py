"""Options of a search for a program's text, and what is refused before it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stm_agent.errors import ConfigError
from stm_agent.loop.options import Options
from stm_agent.loop.probe import DEFAULT_PROBE, ProbeKind
from stm_agent.loop.program_kinds import QUERIES, ProgramKind
from stm_agent.loop.program_ladder import LadderOptions
from stm_agent.loop.program_setup import Sizes

OPTIMIZERS = ("gepa", "mipro")
PROBE_SHARE = 3
"""A probe that is a LoRA run takes this part of the finalists' steps."""
FEWEST_STEPS = 2
"""Steps that a training needs: the first one warms up."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How an optimiser searches.

    Attributes:
        proposals: Most candidates that are proposed.
        seed: Seed of its choices.
        stops: Whether it must stop: a budget is used up as far as it may be.
    """

    proposals: int
    seed: int
    stops: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class ProgramOptions:
    """Options of one search.

    Attributes:
        llm: Generator, reflecting LLM, seed, and ceilings on dollars, calls and minutes.
        program: Name of the program in ``programs/``.
        optimizer: How candidates are proposed: GEPA's reflection or, for comparison, DSPy's MIPROv2, which needs the
            extra ``optuna``.
        proposals: Candidates that are proposed.
        examples: Passages, or pairs, that candidates are rated on.
        queries: Passages, or pairs, that a candidate writes for before it is trained on; of a judge, pairs that test
            it.
        probes: Candidates that are probed, beside the first one.
        finalists: Candidates with a LoRA run, beside the first one.
        kind: The probe of written queries; written passages are probed by a short LoRA run, since other probes learn no
            negatives.
        lora_steps: Steps of a LoRA run.
        documents: Passages that models are scored on; judged ones always are.
        judge: LLM that grades what candidates write, as a part of their rating; None: none.
        own_text: Let it judge what it wrote itself.
    """

    llm: Options
    program: str = "queries"
    optimizer: str = "gepa"
    proposals: int = 8
    examples: int = 12
    queries: int = 48
    probes: int = 4
    finalists: int = 2
    kind: ProbeKind = DEFAULT_PROBE
    lora_steps: int = 60
    documents: int = 1000
    judge: str | None = None
    own_text: bool = False

    @property
    def sizes(self) -> Sizes:
        """How many examples the search has."""
        return Sizes(examples=self.examples, held=self.queries)

    def ladder(self, kind: ProgramKind) -> LadderOptions:
        """Return how candidates of a kind of program climb."""
        probed: ProbeKind = self.kind if kind == QUERIES else "lora"
        return LadderOptions(
            probes=self.probes,
            finalists=self.finalists,
            kind=probed,
            probe_steps=max(FEWEST_STEPS, self.lora_steps // PROBE_SHARE) if probed == "lora" else None,
            lora_steps=self.lora_steps,
        )


def require_optimizer(name: str) -> None:
    """Refuse an optimiser that does not exist.

    Raises:
        ConfigError: It does not.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"--optimizer {name} does not exist; use {' or '.join(OPTIMIZERS)}")


def require_calls(llm: Options, fewest: int, sizes: str) -> None:
    """Refuse a ceiling on calls that two programs cannot be compared within.

    Args:
        llm: The ceilings.
        fewest: Calls without which nothing can be compared.
        sizes: Flags that lower that.

    Raises:
        ConfigError: The ceiling is lower.
    """
    calls = llm.budget_calls
    if calls is not None and calls < fewest:
        raise ConfigError(
            f"--budget-calls {calls} cannot compare two programs; raise it to {fewest} or more, or lower {sizes}"
        )
