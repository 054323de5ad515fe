"""Synthetic hard negatives: written by a DSPy program, several for a pair, stored with their provenance.

Negatives of one kind differ from positives in style; each one here is asked to violate exactly one
requirement of the query, a different one in each sample (arXiv 2606.01304).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.data import Pair
from stm_agent.domain.scripts import LanguageProfile
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.domain.text import draw
from stm_agent.errors import GenerationError
from stm_agent.files import write_json
from stm_agent.llm.checking import REPEATS, TextCheck, repeats
from stm_agent.mine.negatives import Negative
from stm_agent.mine.store import save_negatives
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
    save_rows,
    with_copies,
)

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

Progress = Callable[[int, int], None]
REPORT = "written.json"
STAGE = "negatives"
REQUIREMENTS = (
    "what it is about",
    "which property or aspect of it is asked for",
    "who or what it applies to",
    "when, where or under which condition",
    "how much, how many or how strong",
)
"""What a query can require; the program is asked to violate one of them, the first one for the first negative."""


@dataclass(frozen=True)
class WrittenNegatives:
    """Written negatives by pair id, the counts of the stage, and every text with its provenance."""

    negatives: Mapping[str, tuple[Negative, ...]]
    report: WritingReport
    rows: tuple[Row, ...] = ()

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
    count: int = 1,
    progress: Progress | None = None,
) -> WrittenNegatives:
    """Write ``count`` hard negatives for each pair into ``folder`` (a ``datasets`` folder, rows and ``written.json``).

    A text that is not a usable passage, or repeats the query, the positive, a mined negative that was shown or an
    earlier negative of its pair, is refused and counted. If the budget ends or the LLM goes away, what was written
    until then is stored and returned, with ``ended_by`` set: do not cache such a result as complete. Calls are cached
    by the client, so that the next attempt pays nothing again.

    Args:
        pairs: Training pairs.
        mined: Pair id -> mined negatives, hardest first; the n-th sample is shown the n-th of them.
        task: One line: what a query is and what should be found.
        program: File of the program; its output field is ``hard_negative``.
        client: The way to the generator.
        spec: Format and attempts.
        folder: Where to write.
        count: Negatives of each pair.
        progress: Called with texts done and texts wanted.

    Raises:
        ConfigError: The program cannot be built or fails.
    """
    writer = Writer(program, client, "hard_negative", structured=spec.structured, attempts=spec.attempts)
    rows, ended = _ask(writer, pairs, _requests(pairs, mined, task, count), count, progress)
    blank = blank_row(STAGE, "", task, program, client)
    return _stored(folder, pairs, _distinct([_row(blank, *row) for row in rows], writer), writer, ended)


def _ask(
    writer: Writer, pairs: Sequence[Pair], requests: Iterable[WriteRequest], count: int, progress: Progress | None
) -> tuple[list[tuple[Pair, int, Produced]], GenerationError | None]:
    """Return each text with its pair and its number in it, and why the stage ended early."""
    texts: list[tuple[Pair, int, Produced]] = []
    try:
        with closing(writer.produce_all(requests)) as produced:
            for number, (text, *_) in enumerate(produced):
                texts.append((pairs[number // count], number % count, text))
                if progress:
                    progress(number + 1, len(pairs) * count)
    except GenerationError as error:
        return texts, error
    return texts, None


def _stored(
    folder: Path, pairs: Sequence[Pair], rows: Sequence[Row], writer: Writer, ended: GenerationError | None
) -> WrittenNegatives:
    rows = with_copies(rows)
    negatives = _negatives(rows, writer.client.options.weights)
    save_negatives(folder, pairs, negatives)
    save_rows(folder, rows)
    report = writer.report(sum(map(len, negatives.values())), ended, copied=count_copies(rows))
    numbers = Counter(len(negatives.get(pair.id, ())) for pair in pairs)
    about = {"pairs": len(pairs), "per_pair": {str(number): numbers[number] for number in sorted(numbers)}}
    write_json(folder / REPORT, {**about, **report.to_json(), "sample": writer.sample()})
    return WrittenNegatives(negatives, report, tuple(rows))


def _requests(
    pairs: Sequence[Pair], mined: Mapping[str, tuple[Negative, ...]], task: str, count: int
) -> Iterator[WriteRequest]:
    profile = LanguageProfile.of(pair.positive for pair in pairs)
    for pair in pairs:
        for number in range(count):
            shown = tuple(negative.text for negative in mined.get(pair.id, ())[number : number + 1])
            inputs = {
                "task": task,
                "query": pair.query,
                "passage": pair.positive,
                "mined": "".join(shown),
                "requirement": _requirement(pair, number),
            }
            check = TextCheck("passage", (pair.query, pair.positive, *shown), profile, pair.positive)
            yield WriteRequest(check, inputs, sample=number)


def _requirement(pair: Pair, number: int) -> str:
    return REQUIREMENTS[draw(f"requirement:{pair.id}", len(REQUIREMENTS), offset=number)]


def _row(blank: Row, pair: Pair, number: int, produced: Produced) -> Row:
    # A program that is not shown the requirement, as that for small models, does not violate it on purpose.
    violates = produced.extras.get("violates") or produced.shown.get("requirement", "")
    return replace(
        blank,
        id=f"{pair.id}#{number + 1}",
        source=pair.source,
        query=pair.query,
        positives=(Graded(text=pair.positive, id=""),),
        negatives=(Against(text=produced.text, violates=violates),),
        trial=produced.sample,
        request=produced.request,
        verdict=REFUSED if produced.fault else ACCEPTED,
        reason=produced.fault or "",
    )


def _distinct(rows: Sequence[Row], writer: Writer) -> list[Row]:
    """Return all rows; a negative that repeats an earlier one of its pair is refused and counted."""
    distinct: list[Row] = []
    before: dict[str, list[str]] = {}
    for row in rows:
        name, text = row.id.rpartition("#")[0], row.negatives[0].text
        if row.verdict == ACCEPTED and any(repeats(text, other) for other in before.get(name, ())):
            writer.refused[REPEATS] += 1
            row = replace(row, verdict=REFUSED, reason=REPEATS)
        elif row.verdict == ACCEPTED:
            before.setdefault(name, []).append(text)
        distinct.append(row)
    return distinct


def _negatives(rows: Sequence[Row], weights: str) -> dict[str, tuple[Negative, ...]]:
    negatives: dict[str, tuple[Negative, ...]] = {}
    for row in rows:
        if row.verdict != ACCEPTED:
            continue
        name, _, number = row.id.rpartition("#")
        provenance = {
            "generator": row.model,
            "weights": weights,
            "program": row.program_hash[:16],
            "temperature": str(row.temperature),
            "violates": row.negatives[0].violates,
            "sample": number,
            "request": row.request,
        }
        written = Negative(row.negatives[0].text, "synthetic", provenance=tuple(provenance.items()))
        negatives[name] = (*negatives.get(name, ()), written)
    return negatives
