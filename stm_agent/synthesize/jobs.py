"""The jobs in which an LLM writes training text: queries for passages; hard negatives and graded passages for pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stm_agent.domain.data import Pair
from stm_agent.domain.held import NONE_HELD, HeldQueries
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.files import content_hash
from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.rate import CallRate
from stm_agent.llm.text import TEXT_RULES
from stm_agent.mine.negatives import Negative
from stm_agent.program_files import program_hash
from stm_agent.progress import report
from stm_agent.synthesize.report import WritingReport
from stm_agent.synthesize.spread import Spread

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

QUERY_RULES, NEGATIVE_RULES, GRADED_RULES = 2, 2, 1
"""Raised when other passages, types or requirements are asked for, or other texts are left out, than before."""
DECIDES_TEXTS = {"structured", "attempts", "temperature", "max_tokens"}
DECIDES_QUERIES = {*DECIDES_TEXTS, "queries", "per_passage", "types", "examples", "round_trip"}


@contextmanager
def writing(generator: LlmAccess, what: str) -> Iterator[tuple[LlmClient, Callable[[int, int], None]]]:
    """Yield the open generator, and what reports that some of all texts are written."""
    client = generator.open()
    rate = CallRate(client)

    def progress(done: int, total: int) -> None:
        report("synthesize", rate.text(what, done, total), done, total)

    try:
        yield client, progress
    finally:
        client.close()


def require_whole(generator: LlmAccess, written: WritingReport) -> None:
    """Require a stage that went through, unless it is made of stored answers alone.

    A result that is not whole must not be stored under the key of the whole one.

    Raises:
        BudgetExceeded: The budget ended it.
        GenerationError: The LLM gave out.
    """
    if generator.answered is None:
        written.require_whole()


@dataclass(frozen=True, kw_only=True)
class WritingJob(Job):
    """A stage in which an LLM writes; what was paid for until it ends early stays cached.

    Attributes:
        task: One line: what a query is and what should be found.
        program: File of the DSPy program; what it imports from its folder counts too.
        generator: The LLM.
        spec: Format, attempts, temperature and token limit, and what the stage itself needs.
    """

    task: str
    program: Path
    generator: LlmAccess
    spec: SynthesizeSpec

    @property
    def asks_llm(self) -> bool:
        """Always."""
        return True

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the texts of every stage that writes."""
        return {
            "task": self.task,
            "program": program_hash(self.program),
            "generator": self.generator.key(),
            "text_rules": TEXT_RULES,
            "spec": self.spec.model_dump(mode="json", include=DECIDES_TEXTS),
        }


@dataclass(frozen=True, kw_only=True)
class QueriesJob(WritingJob):
    """Writes queries for passages that are spread over the pool.

    Attributes:
        pool: Passage id -> text.
        seed: Seed of the draws of passages and examples.
        examples: Queries that people wrote: shown to the generator, and the model of types and languages.
        held: Queries of dev and test; a written one that is nearly one of them is left out.
        before: Queries that were written earlier; one that is nearly one of them is left out, too.
        spread: The encoder whose vectors spread the passages over the pool; None: a seeded draw.
    """

    kind: ClassVar[str] = "queries"
    pool: Mapping[str, str]
    seed: int
    examples: tuple[str, ...] = ()
    held: HeldQueries = NONE_HELD
    before: tuple[str, ...] = ()
    spread: Spread | None = None

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the queries."""
        return {
            **super().inputs(),
            "pool": content_hash(dict(self.pool)),
            "rules": QUERY_RULES,
            "spec": self.spec.model_dump(mode="json", include=DECIDES_QUERIES),
            "seed": self.seed,
            "examples": list(self.examples),
            "held": self.held.key(),
            "before": content_hash(list(self.before)),
            "spread": self.spread.key() if self.spread else None,
        }

    def build(self, folder: Path) -> None:
        """Write ``pairs.json``, with the queries and the counts of those refused by reason, and all rows.

        Raises:
            BudgetExceeded: The budget is spent; answers so far stay cached.
            GenerationError: The LLM cannot be reached; answers so far stay cached.
            ConfigError: The program cannot be used.
        """
        from stm_agent.synthesize.queries import write_queries

        with writing(self.generator, "queries") as (client, progress):
            written = write_queries(
                self.pool,
                task=self.task,
                program=self.program,
                client=client,
                spec=self.spec,
                seed=self.seed,
                folder=folder,
                examples=self.examples,
                held=self.held,
                before=self.before,
                spread=self.spread,
                progress=progress,
            )
        require_whole(self.generator, written.report)


@dataclass(frozen=True, kw_only=True)
class HardNegativesJob(WritingJob):
    """Writes hard negatives for pairs.

    Attributes:
        pairs: Training pairs.
        mined: Pair id -> mined negatives, hardest first; each sample is shown one.
        count: Negatives of each pair.
    """

    kind: ClassVar[str] = "synthesize"
    pairs: tuple[Pair, ...]
    mined: Mapping[str, tuple[Negative, ...]]
    count: int = 1

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the negatives."""
        mined = {pair.id: [negative.text for negative in self.mined.get(pair.id, ())] for pair in self.pairs}
        return {
            **super().inputs(),
            "pairs": content_hash([pair.content() for pair in self.pairs]),
            "mined": content_hash(mined),
            "rules": NEGATIVE_RULES,
            "count": self.count,
        }

    def build(self, folder: Path) -> None:
        """Write ``negatives/`` and ``written.json``: pairs without a negative counted by reason.

        Raises:
            BudgetExceeded: The budget is spent; answers so far stay cached.
            GenerationError: The LLM cannot be reached; answers so far stay cached.
            ConfigError: The program cannot be used.
        """
        from stm_agent.synthesize.negatives import synthesize_negatives

        with writing(self.generator, "hard negatives") as (client, progress):
            written = synthesize_negatives(
                self.pairs,
                self.mined,
                task=self.task,
                program=self.program,
                client=client,
                spec=self.spec,
                folder=folder,
                count=self.count,
                progress=progress,
            )
        require_whole(self.generator, written.report)


@dataclass(frozen=True, kw_only=True)
class GradedJob(WritingJob):
    """Writes passages of lower relevance for pairs.

    Attributes:
        pairs: Training pairs.
    """

    kind: ClassVar[str] = "graded"
    pairs: tuple[Pair, ...]

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the passages."""
        return {
            **super().inputs(),
            "pairs": content_hash([pair.content() for pair in self.pairs]),
            "rules": GRADED_RULES,
        }

    def build(self, folder: Path) -> None:
        """Write the rows and ``written.json``: passages refused, counted by reason.

        Raises:
            BudgetExceeded: The budget is spent; answers so far stay cached.
            GenerationError: The LLM cannot be reached; answers so far stay cached.
            ConfigError: The program cannot be used.
        """
        from stm_agent.synthesize.graded import write_graded

        with writing(self.generator, "graded passages") as (client, progress):
            written = write_graded(
                self.pairs,
                task=self.task,
                program=self.program,
                client=client,
                spec=self.spec,
                folder=folder,
                progress=progress,
            )
        require_whole(self.generator, written.report)
