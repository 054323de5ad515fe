"""The instruction-search job: candidates scored on the search half of dev, with the traces of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import InstructSpec
from stm_agent.errors import StopRequested
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.files import read_json, write_atomic, write_json
from stm_agent.instruct.finalist import Finalist
from stm_agent.job import Job, checkpoint_folder
from stm_agent.llm.access import LlmAccess

RESULT, TRACES = "instruction.json", "traces.jsonl"


@dataclass(frozen=True, kw_only=True)
class InstructionJob(Job):
    """Searches a retrieval instruction for one model.

    Attributes:
        model: The model that the instruction is for.
        search: The whole corpus and the search half of dev.
        seeds: Query instructions that people wrote.
        framings: Passage instructions that people wrote.
        incumbent: The instruction to beat.
        reflection: The LLM that writes candidates; None: seeds only.
        spec: Optimiser and number of candidates.
        seed: Seed of the optimiser.
        task: One line: what a query is and what should be found.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "instruct"
    model: EncoderSource
    search: ScoredTask
    seeds: tuple[Instruction, ...]
    framings: tuple[Instruction, ...]
    incumbent: Instruction
    reflection: LlmAccess | None
    spec: InstructSpec
    seed: int
    task: str
    cache: Path

    @property
    def asks_llm(self) -> bool:
        """Whether it has a reflecting LLM."""
        return self.reflection is not None

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the search."""
        return {
            # Raised with the format of instruction.json, so that an older folder is never read as this one.
            "format": 2,
            "model": self.model.source_key(),
            "search": self.search.content_hash,
            "candidates": [asdict(candidate) for candidate in (*self.seeds, *self.framings, self.incumbent)],
            "reflection": self.reflection.key() if self.reflection else None,
            "spec": self.spec.model_dump(mode="json"),
            "seed": self.seed,
            "task": self.task,
        }

    def build(self, folder: Path) -> None:
        """Write ``instruction.json`` and ``traces.jsonl``; if stopped, leave the traces so far as a checkpoint.

        Raises:
            StopRequested: A stop was asked for.
            GenerationError: The reflecting LLM cannot be reached, or its budget is spent.
        """
        from stm_agent.instruct.search import search_instruction

        client = self.reflection.open() if self.reflection else None
        try:
            result = search_instruction(
                encoder=self.model.open(),
                cache=EmbeddingCache(self.cache),
                searching=self.search.split,
                documents=self.search.documents,
                seeds=self.seeds,
                incumbent=self.incumbent,
                reflection=client,
                spec=self.spec,
                trace=folder / TRACES,
                seed=self.seed,
                task=self.task,
                framings=self.framings,
            )
        except StopRequested:
            checkpoints = checkpoint_folder()
            if checkpoints is not None and (folder / TRACES).exists():
                write_atomic(checkpoints / TRACES, (folder / TRACES).read_bytes())
            raise
        finally:
            if client is not None:
                client.close()
        write_json(folder / RESULT, asdict(result))


@dataclass(frozen=True, kw_only=True)
class FoundInstruction:
    """What an :class:`InstructionJob` wrote: the winner on the search half, and how it was found."""

    winner: Instruction
    trial: str
    tried: int
    favourite: Instruction
    finalists: tuple[Finalist, ...]
    rejected: Mapping[str, int]


def read_found(folder: Path) -> FoundInstruction:
    """Read the result of an :class:`InstructionJob`."""
    row = read_json(folder / RESULT)
    row.pop("incumbent")
    finalists = tuple(map(Finalist.from_json, row["finalists"]))
    named = {name: Instruction(**row[name]) for name in ("winner", "favourite")}
    return FoundInstruction(**{**row, **named, "finalists": finalists})
