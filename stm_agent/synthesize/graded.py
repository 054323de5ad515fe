"""Passages of graded relevance that the generator writes for a query, for list-wise losses.

Four levels for each query: its own positive, and a written passage for each of three lower ones (SyCL, arXiv
2503.23239). Highly relevant and related passages are not negatives: a list-wise loss learns the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.data import Pair
from stm_agent.domain.scripts import LanguageProfile
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.errors import GenerationError
from stm_agent.files import write_json
from stm_agent.llm.checking import REPEATS, TextCheck, repeats
from stm_agent.synthesize.drafts import Produced, WriteRequest
from stm_agent.synthesize.program import Writer
from stm_agent.synthesize.report import WritingReport
from stm_agent.synthesize.rows import (
    ACCEPTED,
    REFUSED,
    Against,
    Graded,
    Row,
    blank_row,
    count_copies,
    load_rows,
    save_rows,
    with_copies,
)

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

STAGE = "graded"
REPORT = "written.json"
BEST = 3
"""Grade of the pair's own positive."""
LEVELS: Mapping[int, str] = {
    2: "highly relevant: it answers part of the query, or all of it for a case that is a little different",
    1: "related: it is on the subject of the query, and nothing in it answers the query",
    0: "not relevant: it shares words with the query, and is on another subject",
}
"""Grade -> the request to the generator, in the order in which passages are asked for."""


@dataclass(frozen=True)
class WrittenGrades:
    """The counts of a stage that writes graded passages, and every text with its provenance."""

    report: WritingReport
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class GradedPassages:
    """Written passages of one pair.

    Attributes:
        related: Passages of the levels above 0, best first, each with its grade as a share of the positive's.
        negatives: Passages of level 0.
    """

    related: tuple[tuple[str, float], ...] = ()
    negatives: tuple[str, ...] = ()


def write_graded(
    pairs: Sequence[Pair],
    *,
    task: str,
    program: Path,
    client: LlmClient,
    spec: SynthesizeSpec,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenGrades:
    """Write a passage of each lower level for each pair into ``folder``: rows and ``written.json``.

    A passage that repeats the query, the positive or a passage of a higher level is refused and counted. If the budget
    ends or the LLM goes away, what was written until then is stored and returned.

    Args:
        pairs: Training pairs.
        task: One line: what a query is and what should be found.
        program: File of the program; its output field is ``graded_passage``, or ``graded_passages`` for all levels.
        client: The way to the generator.
        spec: Format and attempts.
        folder: Where to write.
        progress: Called with calls done and calls wanted.

    Raises:
        ConfigError: The program cannot be built or fails.
    """
    writer = Writer(program, client, "graded_passage", structured=spec.structured, attempts=spec.attempts)
    calls = [(pair, levels) for pair in pairs for levels in _calls(several=writer.several)]
    profile = LanguageProfile.of(pair.positive for pair in pairs)
    requests = (_request(pair, levels, task, profile) for pair, levels in calls)
    made: dict[str, list[tuple[int, Produced]]] = {}
    ended: GenerationError | None = None
    try:
        with closing(writer.produce_all(requests)) as produced:
            for number, ((pair, levels), texts) in enumerate(zip(calls, produced, strict=True), 1):
                made.setdefault(pair.id, []).extend(zip(levels, texts, strict=True))
                if progress:
                    progress(number, len(calls))
    except GenerationError as error:
        ended = error
    blank = blank_row(STAGE, "", task, program, client)
    rows = tuple(with_copies(row for pair in pairs for row in _rows(blank, pair, made.get(pair.id, []), writer)))
    report = writer.report(sum(row.verdict == ACCEPTED for row in rows), ended, copied=count_copies(rows))
    save_rows(folder, rows)
    write_json(folder / REPORT, {"pairs": len(pairs), **report.to_json(), "sample": writer.sample()})
    return WrittenGrades(report, rows)


def load_graded(folder: Path) -> dict[str, GradedPassages]:
    """Return pair id -> the passages that :func:`write_graded` wrote and that can be used."""
    found: dict[str, GradedPassages] = {}
    for row in load_rows(folder):
        name = row.id.rpartition("#")[0]
        before = found.get(name, GradedPassages())
        if row.verdict != ACCEPTED:
            continue
        if row.negatives:
            found[name] = replace(before, negatives=(*before.negatives, row.negatives[0].text))
        else:
            written = row.positives[-1]
            found[name] = replace(before, related=(*before.related, (written.text, written.grade / BEST)))
    return found


def _calls(*, several: bool) -> list[tuple[int, ...]]:
    return [tuple(LEVELS)] if several else [(level,) for level in LEVELS]


def _request(pair: Pair, levels: Sequence[int], task: str, profile: LanguageProfile) -> WriteRequest:
    described = "; ".join(LEVELS[level] for level in levels)
    inputs = {
        "task": task,
        "query": pair.query,
        "passage": pair.positive,
        "level": described if len(levels) == 1 else f"{len(levels)} passages: {described}",
    }
    check = TextCheck("passage", (pair.query, pair.positive), profile, pair.positive)
    parts = levels if len(levels) > 1 else ()
    singly = tuple(_request(pair, (level,), task, profile) for level in parts)
    return WriteRequest(check, inputs, count=len(levels), singly=singly)


def _rows(blank: Row, pair: Pair, made: Sequence[tuple[int, Produced]], writer: Writer) -> Iterator[Row]:
    before: list[str] = []
    own = Graded(text=pair.positive, grade=BEST)
    for level, produced in made:
        fault = produced.fault
        if fault is None and any(repeats(produced.text, other) for other in before):
            fault = REPEATS
            writer.refused[REPEATS] += 1
        before += [produced.text] if fault is None else []
        yield replace(
            blank,
            id=f"{pair.id}#grade {level}",
            source=pair.source,
            query=pair.query,
            positives=(own, Graded(text=produced.text, grade=level)) if level else (own,),
            negatives=() if level else (Against(text=produced.text),),
            trial=produced.sample,
            request=produced.request,
            verdict=REFUSED if fault else ACCEPTED,
            reason=fault or "",
        )
