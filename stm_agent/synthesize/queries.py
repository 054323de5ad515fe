"""Queries of several types that the generator writes for passages spread over the corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.data import Pair
from stm_agent.domain.held import NONE_HELD, HeldQueries
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.domain.synthesize_spec import PROBE
from stm_agent.errors import GenerationError
from stm_agent.files import read_json, write_json
from stm_agent.synthesize.drafts import Produced
from stm_agent.synthesize.filters import HELD, LEFT_OUT, LOST, RANKS, repeated, round_trip_ranks
from stm_agent.synthesize.program import Writer
from stm_agent.synthesize.query_plan import QueryCall, QueryPlan, plan_queries
from stm_agent.synthesize.report import WritingReport
from stm_agent.synthesize.rows import ACCEPTED, REFUSED, Graded, Row, blank_row, count_copies, save_rows, with_copies
from stm_agent.synthesize.spread import Spread, choose_passages

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient
    from stm_agent.mine.prompted import PromptedEncoder

PAIRS = "pairs.json"
STAGE = "queries"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class WrittenQueries:
    """What came of a stage that writes queries.

    Attributes:
        pairs: Pairs of a written query and its passage.
        report: Counts and cost.
        rows: Every text with its provenance, refused ones too.
    """

    pairs: tuple[Pair, ...]
    report: WritingReport
    rows: tuple[Row, ...] = ()

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
    held: HeldQueries = NONE_HELD,
    before: Sequence[str] = (),
    spread: Spread | None = None,
    progress: Progress | None = None,
) -> WrittenQueries:
    """Write ``spec.queries`` queries for passages of a pool into ``folder``: ``pairs.json`` and the rows.

    If the budget ends or the LLM goes away, what was written until then is stored and returned, with ``ended_by`` set.

    Args:
        pool: Passage id -> text.
        task: One line: what a query is and what should be found.
        program: File of the program; its output field is ``query``, or ``queries`` for several.
        client: The way to the generator.
        spec: How many queries, of which types, and how they are filtered.
        seed: Seed of the draws.
        folder: Where to write.
        examples: Queries that people wrote: shown to the generator, and the model of types and languages.
        held: Queries of dev and test; a written one that is nearly one of them is left out.
        before: Queries that were written earlier; one that is nearly one of them is left out, too.
        spread: The encoder whose vectors spread the passages over the corpus; None: a seeded draw.
        progress: Called with calls done and calls wanted.

    Raises:
        ConfigError: The program cannot be built or fails.
    """
    writer = Writer(program, client, "query", structured=spec.structured, attempts=spec.attempts)
    count = -(-spec.queries // min(spec.per_passage, len(spec.types)))
    encoder = spread.open() if spread is not None and (spec.round_trip_depth or 1 < count < len(pool)) else None
    chosen = choose_passages(pool, count, seed=seed, encoder=encoder)
    plan = plan_queries(
        chosen.passages, pool, task=task, spec=spec, seed=seed, examples=examples, several=writer.several
    )
    texts, ended = _ask(writer, plan, progress)
    rows = list(_rows(plan, texts, pool, blank_row(STAGE, "written", task, program, client)))
    rows = with_copies(_round_trips(_distinct(rows, held, before), pool, spec, encoder))
    writer.refused.update(row.reason for row in rows if row.reason in LEFT_OUT)
    report = writer.report(sum(row.verdict == ACCEPTED for row in rows), ended, copied=count_copies(rows))
    about = {"generator": client.model, "clusters": chosen.clusters, "mix": dict(plan.mix), "sample": writer.sample()}
    return _stored(folder, rows, report, {**about, **_lost(rows, spec)})


def _stored(folder: Path, rows: Sequence[Row], report: WritingReport, about: Mapping[str, object]) -> WrittenQueries:
    pairs = tuple(_pair(row) for row in rows if row.verdict == ACCEPTED)
    stored = [{"id": p.id, "query": p.query, "positive": p.positive, "group": p.group} for p in pairs]
    write_json(folder / PAIRS, {**about, **report.to_json(), "pairs": stored})
    save_rows(folder, rows)
    return WrittenQueries(pairs, report, tuple(rows))


def _ask(
    writer: Writer, plan: QueryPlan, progress: Progress | None
) -> tuple[list[tuple[Produced, ...]], GenerationError | None]:
    texts: list[tuple[Produced, ...]] = []
    try:
        with closing(writer.produce_all(plan.requests)) as produced:
            for answer in produced:
                texts.append(answer)
                if progress:
                    progress(len(texts), len(plan.calls))
    except GenerationError as error:
        return texts, error
    return texts, None


def _rows(plan: QueryPlan, texts: Sequence[Sequence[Produced]], pool: Mapping[str, str], blank: Row) -> Iterator[Row]:
    for call, answer in zip(plan.calls, texts, strict=False):
        for number, (name, produced) in enumerate(zip(call.types, answer, strict=True), call.first):
            yield replace(
                blank,
                id=_name(call, number),
                query=produced.text,
                type=name,
                positives=(Graded(text=pool[call.passage], id=call.passage),),
                trial=produced.sample,
                request=produced.request,
                verdict=REFUSED if produced.fault else ACCEPTED,
                reason=produced.fault or "",
            )


def _name(call: QueryCall, number: int) -> str:
    return f"written:{call.passage}" if number == 0 else f"written:{call.passage}/{number + 1}"


def _distinct(rows: Sequence[Row], held: HeldQueries, before: Sequence[str]) -> list[Row]:
    """Return all rows; those that nearly repeat a query of dev or test, or an earlier one, are refused."""
    changed = list(rows)
    usable = [index for index, row in enumerate(rows) if row.verdict == ACCEPTED]
    for position, reason in repeated([rows[index].query for index in usable], held, before).items():
        row = rows[usable[position]]
        # A query of test is shown nowhere, nor is the way to it.
        shown = replace(row, query="", request="") if reason == HELD else row
        changed[usable[position]] = replace(shown, verdict=REFUSED, reason=reason)
    return changed


def _round_trips(
    rows: Sequence[Row], pool: Mapping[str, str], spec: SynthesizeSpec, encoder: PromptedEncoder | None
) -> list[Row]:
    """Return all rows with the ranks of their passages; those whose query misses its passage are refused.

    Depth 0 asks nothing; what a probe decides on is not refused here.
    """
    changed = list(rows)
    depth, refuses = spec.round_trip_depth, spec.round_trip != PROBE
    if not depth:
        return changed
    usable = [index for index, row in enumerate(changed) if row.verdict == ACCEPTED]
    asked = [(changed[index].query, changed[index].positives[0].id) for index in usable]
    for index, ranks in zip(usable, round_trip_ranks(asked, pool, depth, encoder), strict=True):
        row = replace(changed[index], scores=ranks)
        changed[index] = replace(row, verdict=REFUSED, reason=LOST) if refuses and not ranks else row
    return changed


def _lost(rows: Sequence[Row], spec: SynthesizeSpec) -> dict[str, list[str]]:
    """Return the names of the pairs that a probe decides on, under ``lost``."""
    used = [row for row in rows if row.verdict == ACCEPTED] if spec.round_trip == PROBE else []
    return {"lost": lost} if (lost := [row.id for row in used if not row.scores.keys() & RANKS]) else {}


def _pair(row: Row) -> Pair:
    passage = row.positives[0]
    return Pair(row.id, row.query, passage.text, "written", passage.id)


def load_lost(folder: Path) -> frozenset[str]:
    """Return the names of the pairs that a probe may leave out, since their query misses its passage."""
    return frozenset(read_json(folder / PAIRS).get("lost", ()))


def load_pairs(folder: Path) -> tuple[Pair, ...]:
    """Read what :func:`write_queries` wrote."""
    rows = read_json(folder / PAIRS)["pairs"]
    return tuple(Pair(row["id"], row["query"], row["positive"], "written", row["group"]) for row in rows)
