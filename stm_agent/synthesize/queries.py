"""Queries that the generator writes for passages without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.data import Pair
from stm_agent.domain.scripts import LanguageProfile
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.errors import GenerationError
from stm_agent.files import read_json, sha256_text, write_json
from stm_agent.llm.checking import TextCheck
from stm_agent.synthesize.program import Writer, WriteRequest
from stm_agent.synthesize.report import WritingReport

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

PAIRS = "pairs.json"


@dataclass(frozen=True)
class WrittenQueries:
    """Pairs of a written query and its passage, and the counts of the stage.

    ``ended_by`` is None if the stage is whole.
    """

    pairs: tuple[Pair, ...]
    report: WritingReport

    @property
    def ended_by(self) -> str | None:
        """Why the stage ended early; None: it is whole."""
        return self.report.ended_by


def write_queries(
    pool: Mapping[str, str],
    *,
    task: str,
    program: Path,
    client: LlmClient,
    spec: SynthesizeSpec,
    seed: int,
    folder: Path,
    examples: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> WrittenQueries:
    """Write one query for each of ``spec.queries`` passages, drawn by a seeded hash, into ``folder/pairs.json``.

    If the budget ends or the LLM goes away, what was written until then is stored and returned, with
    ``ended_by`` set: do not cache such a result as complete.

    Args:
        pool: Passage id -> text.
        task: One line: what a query is and what should be found.
        program: File of the program; its output field is ``query``.
        client: The way to the generator.
        spec: How many queries.
        seed: Seed of the draw.
        folder: Where to write.
        examples: Queries that people wrote: a written query may be in a language of theirs, too.
        progress: Called with texts done and texts wanted.

    Raises:
        ConfigError: The program cannot be built or fails.
    """
    writer = Writer(program, client, "query")
    drawn = sorted(pool, key=lambda passage: sha256_text(f"{seed} {passage}"))[: spec.queries]
    profile = LanguageProfile.of([*examples[:100], *(pool[passage] for passage in drawn)])
    pairs: list[Pair] = []
    ended: GenerationError | None = None
    requests = [
        WriteRequest(TextCheck("query", (pool[passage],), profile), {"task": task, "passage": pool[passage]})
        for passage in drawn
    ]
    try:
        with closing(writer.write_all(requests)) as queries:
            for number, (passage, query) in enumerate(zip(drawn, queries, strict=True), 1):
                if query is not None:
                    pairs.append(Pair(f"written:{passage}", query, pool[passage], "written", passage))
                if progress:
                    progress(number, len(drawn))
    except GenerationError as error:
        ended = error
    report = writer.report(len(pairs), ended)
    _store(folder, pairs, {"generator": client.model, **report.to_json(), "sample": writer.sample()})
    return WrittenQueries(tuple(pairs), report)


def _store(folder: Path, pairs: Sequence[Pair], about: Mapping[str, object]) -> None:
    rows = [{"id": p.id, "query": p.query, "positive": p.positive, "group": p.group} for p in pairs]
    write_json(folder / PAIRS, {**about, "pairs": rows})


def load_pairs(folder: Path) -> tuple[Pair, ...]:
    """Read what :func:`write_queries` wrote."""
    rows = read_json(folder / PAIRS)["pairs"]
    return tuple(Pair(row["id"], row["query"], row["positive"], "written", row["group"]) for row in rows)
