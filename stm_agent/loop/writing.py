"""What the generator writes in a run: queries, negatives and graded passages, with what was paid and refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NotRequired, TypedDict

from stm_agent.domain.data import Pair
from stm_agent.files import read_json
from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.context import RunContext
from stm_agent.loop.data_jobs import first_miner, graded_job, negatives_job, queries_job
from stm_agent.loop.round_trip_probe import ProbedPairs, filter_by_probe
from stm_agent.loop.salvaging import build_or_salvage
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.graded import GradedPassages
from stm_agent.synthesize.jobs import WritingJob
from stm_agent.traces import Trace, TraceStore, read_traces
from stm_agent.train.job import NO_NEGATIVES, Negatives

NO_PROGRAMS: Mapping[str, Path] = {}
"""The domain's own programs write."""


def more_written_queries(
    context: RunContext,
    pool: Mapping[str, str],
    count: int,
    programs: Mapping[str, Path] = NO_PROGRAMS,
    before: Sequence[Pair] = (),
) -> ProbedPairs:
    """Return pairs whose queries the generator writes for passages of a pool; fewer if it gives out.

    If the domain lets a probe decide on the round trip, it decides on these pairs.

    Args:
        context: The run.
        pool: Passage id -> text.
        count: Queries wanted.
        programs: Programs that write since a search of their text.
        before: Pairs that were written earlier, whose queries are not repeated.
    """
    from stm_agent.synthesize.queries import load_lost, load_pairs

    folder: Path | None = None
    with context.attempt("written queries"):
        spec = context.spec.synthesize.model_copy(update={"queries": count})
        whole = queries_job(
            context.spec.model_copy(update={"synthesize": spec}),
            context.workspace,
            context.data,
            pool,
            # The same in every round, so that the same queries are written once.
            first_miner(context.spec),
            context.generator,
            seed=context.seed,
            cache=context.cache,
        )
        queries = tuple(pair.query for pair in before)
        whole = replace(whole, program=programs.get("queries", whole.program), before=queries)

        def job(generator: LlmAccess) -> Job:
            return replace(whole, generator=generator)

        with context.timed("synthesize", f"{context.generator.options.model} writes {count:,} queries"):
            folder = build_or_salvage(context, "written queries", job)
    if folder is None:
        return ProbedPairs(())
    _report_counts(context, "queries", folder / "pairs.json")
    _trace(context, "queries", whole, folder / "pairs.json")
    return filter_by_probe(context, load_pairs(folder), load_lost(folder))


def written_negatives(
    context: RunContext, pairs: Sequence[Pair], mined: Negatives, programs: Mapping[str, Path]
) -> tuple[Negatives, str | None]:
    """Return negatives that the generator writes for pairs with a mined one, and the trial of the program."""
    spec = context.spec.synthesize
    chosen = negatives_job(context.spec, context.workspace, pairs, mined, context.generator, spec.pairs)
    chosen = replace(chosen, program=programs.get("negatives", chosen.program))

    def job(generator: LlmAccess) -> Job:
        return replace(chosen, generator=generator)

    model = context.generator.options.model
    with context.timed(
        "synthesize", f"{model} writes {chosen.count} hard negatives for each of {len(chosen.pairs)} pairs"
    ):
        folder = build_or_salvage(context, "written negatives", job)
    if folder is None:
        return NO_NEGATIVES, None
    _report_counts(context, "hard negatives", folder / "written.json")
    trial = _trace(context, "hard negatives", chosen, folder / "written.json")
    return load_negatives(folder), trial


def graded_passages(
    context: RunContext, pairs: Sequence[Pair], programs: Mapping[str, Path]
) -> Mapping[str, GradedPassages]:
    """Return passages of lower relevance that the generator writes for some of the pairs."""
    from stm_agent.synthesize.graded import load_graded

    if not pairs or not context.spec.synthesize.graded:
        return {}
    folder: Path | None = None
    with context.attempt("graded passages"):
        whole = graded_job(context.spec, context.workspace, pairs, context.generator)
        whole = replace(whole, program=programs.get("graded", whole.program))

        def job(generator: LlmAccess) -> Job:
            return replace(whole, generator=generator)

        model = context.generator.options.model
        with context.timed("synthesize", f"{model} writes passages of lower relevance for {len(whole.pairs)} pairs"):
            folder = build_or_salvage(context, "graded passages", job)
    if folder is None:
        return {}
    _report_counts(context, "graded passages", folder / "written.json")
    _trace(context, "graded passages", whole, folder / "written.json")
    return load_graded(folder)


class WrittenCounts(TypedDict):
    """Counts of a stage in which texts were written; earlier versions count less."""

    written: int
    asked: int
    refused: dict[str, int]
    inputs_cut: NotRequired[int]
    copied: NotRequired[int]
    misread: NotRequired[int]


def losses(counts: WrittenCounts, plain: str) -> str:
    """Return what a stage lost, to follow its counts; ``plain``: the setting that turns typed outputs off."""
    refusals = ", ".join(f"{number} {reason}" for reason, number in sorted(counts["refused"].items()))
    text = f"; refused: {refusals}" if refusals else ""
    text += f"; {counts['inputs_cut']} inputs cut to the model's context" if counts.get("inputs_cut") else ""
    if misread := counts.get("misread"):
        text += f"; {misread} answers kept no format, so that the plain program wrote ({plain})"
    return text


def _report_counts(context: RunContext, what: str, path: Path) -> None:
    """Note how many texts were written and why the others were refused."""
    counts: WrittenCounts = read_json(path)
    text = f"{counts['written']} of {counts['asked']} {what} written{losses(counts, 'synthesize: structured: never')}"
    text += f"; {counts['copied']} of these are copied from their passage" if counts.get("copied") else ""
    lacks = counts["written"] < counts["asked"] or counts.get("inputs_cut") or counts.get("misread")
    (context.warn if lacks else context.note)("synthesize", text)


def _trace(context: RunContext, what: str, whole: WritingJob, written: Path) -> str | None:
    """Record the generator's program and what its texts cost in the run; return the name of its trial.

    Args:
        context: The run.
        what: The kind of text.
        whole: The job; what was salvaged of it is counted until it is built as a whole.
        written: The counts of its stage.
    """
    counts, program = read_json(written), whole.program
    sample = counts.get("sample")
    if not sample:
        return None
    # Stages of an earlier version count no calls.
    cost = {name: sample.get(name, 0) for name in ("tokens", "usd", "seconds")} | {"calls": sample.pop("calls", 0)}
    text = sample.pop("instructions")
    model, parent = context.generator.options.model, _searched(context, program)
    origin = "search" if parent else "workspace"
    trace = Trace("program", text, origin, model, parent=parent, program=str(program), **sample)
    trial = TraceStore(context.run.traces).add(trace)
    context.run.ledger.record(
        "written",
        folder=written.parent.name,
        whole=whole.folder_name,
        trial=trial,
        what=what,
        asked=counts["asked"],
        written=counts["written"],
        copied=counts.get("copied", 0),
        **cost,
    )
    return trial


def _searched(context: RunContext, program: Path) -> str | None:
    """Return the trial of a search that found this program; None: it is the workspace's own."""
    candidates = context.run.folder / "candidates"
    if not program.is_relative_to(candidates):
        return None
    trials = read_traces(context.run.traces)
    return next((trial["trial"] for trial in trials if trial["program"] == str(program)), None)
