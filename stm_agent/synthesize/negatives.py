"""Synthetic hard negatives: written by a DSPy program, stored with their provenance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.data import Pair
from stm_agent.domain.scripts import LanguageProfile
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.errors import GenerationError
from stm_agent.files import sha256_file, write_json
from stm_agent.llm.checking import TextCheck
from stm_agent.mine.negatives import Negative
from stm_agent.mine.store import save_negatives
from stm_agent.synthesize.program import Writer, WriteRequest
from stm_agent.synthesize.report import WritingReport

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

Progress = Callable[[int, int], None]
REPORT = "written.json"


@dataclass(frozen=True)
class WrittenNegatives:
    """Written negatives by pair id, and the counts of the stage; ``ended_by`` is None if it is whole."""

    negatives: Mapping[str, tuple[Negative, ...]]
    report: WritingReport

    @property
    def ended_by(self) -> str | None:
        """Why the stage ended early; None: it is whole."""
        return self.report.ended_by


def synthesize_negatives(
    pairs: Sequence[Pair],
    mined: Mapping[str, tuple[Negative, ...]],
    *,
    task: str,
    program: Path,
    client: LlmClient,
    spec: SynthesizeSpec,
    folder: Path,
    progress: Progress | None = None,
) -> WrittenNegatives:
    """Write one hard negative for each pair into ``folder`` (a ``datasets`` folder and ``written.json``).

    A text that is not a usable passage, or repeats the query, the positive or the hardest mined negative, is refused
    and counted. If the budget ends or the LLM goes away, what was written until then is stored and returned, with
    ``ended_by`` set: do not cache such a result as complete. Calls are cached by the client, so that the next
    attempt pays nothing again.

    Raises:
        ConfigError: The program cannot be built or fails.
    """
    writer = Writer(program, client, "hard_negative")
    made_by = (
        ("generator", client.model),
        ("program", sha256_file(program)[:16]),
        ("temperature", str(spec.temperature)),
    )
    negatives: dict[str, tuple[Negative, ...]] = {}
    ended: GenerationError | None = None
    try:
        with closing(writer.write_all(_requests(pairs, mined, task))) as texts:
            for number, (pair, text) in enumerate(zip(pairs, texts, strict=True), 1):
                if text is not None:
                    negatives[pair.id] = (Negative(text, "synthetic", provenance=made_by),)
                if progress:
                    progress(number, len(pairs))
    except GenerationError as error:
        ended = error
    save_negatives(folder, pairs, negatives)
    report = writer.report(len(negatives), ended)
    write_json(folder / REPORT, {"pairs": len(pairs), **report.to_json(), "sample": writer.sample()})
    return WrittenNegatives(negatives, report)


def _requests(pairs: Sequence[Pair], mined: Mapping[str, tuple[Negative, ...]], task: str) -> Iterator[WriteRequest]:
    profile = LanguageProfile.of(pair.positive for pair in pairs)
    for pair in pairs:
        hardest = tuple(negative.text for negative in mined.get(pair.id, ())[:1])
        check = TextCheck("passage", (pair.query, pair.positive, *hardest), profile, pair.positive)
        yield WriteRequest(check, {"task": task, "query": pair.query, "passage": pair.positive})
