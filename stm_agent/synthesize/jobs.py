"""The jobs in which an LLM writes training text: queries for passages, hard negatives for pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.files import content_hash
from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.rate import CallRate
from stm_agent.llm.text import TEXT_RULES
from stm_agent.mine.negatives import Negative
from stm_agent.program_files import program_hash
from stm_agent.progress import report


@dataclass(frozen=True, kw_only=True)
class QueriesJob(Job):
    """Writes a query for each of some passages.

    Attributes:
        pool: Passage id -> text.
        task: One line: what a query is and what should be found.
        program: File of the DSPy program; what it imports from its folder counts too.
        generator: The LLM.
        spec: How many, temperature and token limit.
        seed: Seed of the draw of passages.
        examples: Queries that people wrote; a written query may be in a language of theirs too.
    """

    kind: ClassVar[str] = "queries"
    pool: Mapping[str, str]
    task: str
    program: Path
    generator: LlmAccess
    spec: SynthesizeSpec
    seed: int
    examples: tuple[str, ...] = ()

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the queries."""
        return {
            "pool": content_hash(dict(self.pool)),
            "task": self.task,
            "program": program_hash(self.program),
            "generator": self.generator.key(),
            "text_rules": TEXT_RULES,
            "spec": self.spec.model_dump(mode="json", include={"queries", "temperature", "max_tokens"}),
            "seed": self.seed,
            "examples": list(self.examples),
        }

    def build(self, folder: Path) -> None:
        """Write ``pairs.json``: the queries, and the passages without one counted by reason.

        Raises:
            BudgetExceeded: The budget is spent; answers so far stay cached.
            GenerationError: The LLM cannot be reached; answers so far stay cached.
            ConfigError: The program cannot be used.
        """
        from stm_agent.synthesize.queries import write_queries

        client = self.generator.open()
        rate = CallRate(client)
        try:
            written = write_queries(
                self.pool,
                task=self.task,
                program=self.program,
                client=client,
                spec=self.spec,
                seed=self.seed,
                folder=folder,
                examples=self.examples,
                progress=lambda done, total: report("synthesize", rate.text("queries", done, total), done, total),
            )
        finally:
            client.close()
        if self.generator.answered is None:
            # A result that is not whole must not be stored under the key of the whole one.
            written.report.require_whole()


@dataclass(frozen=True, kw_only=True)
class HardNegativesJob(Job):
    """Writes a hard negative for each of some pairs.

    Attributes:
        pairs: Training pairs.
        mined: Pair id -> mined negatives; the hardest is shown to the LLM.
        task: One line: what a query is and what should be found.
        program: File of the DSPy program; what it imports from its folder counts too.
        generator: The LLM.
        spec: Temperature and token limit.
    """

    kind: ClassVar[str] = "synthesize"
    pairs: tuple[Pair, ...]
    mined: Mapping[str, tuple[Negative, ...]]
    task: str
    program: Path
    generator: LlmAccess
    spec: SynthesizeSpec

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the negatives."""
        mined = {pair.id: [negative.text for negative in self.mined.get(pair.id, ())] for pair in self.pairs}
        return {
            "pairs": content_hash([pair.content() for pair in self.pairs]),
            "mined": content_hash(mined),
            "task": self.task,
            "program": program_hash(self.program),
            "generator": self.generator.key(),
            "text_rules": TEXT_RULES,
            "spec": self.spec.model_dump(mode="json", include={"temperature", "max_tokens"}),
        }

    def build(self, folder: Path) -> None:
        """Write ``negatives/`` and ``written.json``: pairs without a negative counted by reason.

        Raises:
            BudgetExceeded: The budget is spent; answers so far stay cached.
            GenerationError: The LLM cannot be reached; answers so far stay cached.
            ConfigError: The program cannot be used.
        """
        from stm_agent.synthesize.negatives import synthesize_negatives

        client = self.generator.open()
        rate = CallRate(client)
        try:
            written = synthesize_negatives(
                self.pairs,
                self.mined,
                task=self.task,
                program=self.program,
                client=client,
                spec=self.spec,
                folder=folder,
                progress=lambda done, total: report(
                    "synthesize", rate.text("hard negatives", done, total), done, total
                ),
            )
        finally:
            client.close()
        if self.generator.answered is None:
            # A result that is not whole must not be stored under the key of the whole one.
            written.report.require_whole()
