"""``optimize --corpus``: documents without queries become a collection whose queries an LLM wrote.

The collection is a BEIR folder of its own in ``runs/corpora``; a run then adapts to it as to any other folder. Answers
are cached and the written queries are a stage, so the same command pays nothing again, whatever start it adapts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict

from stm_agent.clock import RunClock, stored_seconds
from stm_agent.domain.collection import Collection, write_beir
from stm_agent.domain.load import TASK
from stm_agent.domain.names import domain_name
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.domain.synthetic import WAY_ON, SyntheticCollection, synthetic_collection
from stm_agent.errors import DataError, GenerationError
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.files import content_hash, read_json, read_jsonl, write_json
from stm_agent.llm.access import LlmAccess, spending
from stm_agent.loop.corpus_plan import CorpusPlan, llm_options, plan_corpus
from stm_agent.loop.events import Observer, ObserverWatcher
from stm_agent.loop.options import Options
from stm_agent.loop.planning import MINUTES
from stm_agent.loop.prepare import CACHE
from stm_agent.loop.single import build_job
from stm_agent.progress import watched_by
from stm_agent.synthesize.jobs import QueriesJob
from stm_agent.workspace import program_path

CORPORA = "corpora"
"""Folder of ``runs/`` with the collections made of corpora."""
ABOUT = "written.json"
"""File of such a collection with what was written, what was left out and what it cost."""
WRITING_SHARE = 0.4
"""Share of the minutes that writing may take."""
ROUND_TRIP = 10
"""First documents of BM25 among which a written query should find its passage."""
FEWEST_FOUND = 0.3
"""Share of the written queries that must find their passage so. Texts that have nothing to do with their passage pass
every check of their form, and scores on them would mean nothing; a small decoder writes hardly anything else."""
SAMPLES = 3
"""Written queries that are shown: no check of form sees what a person sees at once."""
_LONGEST_NAME = 24


@dataclass(frozen=True, kw_only=True)
class WrittenCollection:
    """A BEIR folder of written queries.

    Attributes:
        folder: The folder; its name and those of its files say that they are synthetic.
        usd: US dollars that writing cost.
        minutes: Minutes that it took.
    """

    folder: Path
    usd: float
    minutes: float

    def remaining(self, options: Options) -> Options:
        """Return the options of the run that follows: ceilings are of writing and run together."""
        usd, minutes = options.budget_usd, options.budget_minutes
        return replace(
            options,
            budget_usd=None if usd is None else max(0.0, usd - self.usd),
            budget_minutes=None if minutes is None else max(1.0, minutes - self.minutes),
        )


def write_collection(
    path: Path, options: Options, *, queries: int, workspace: Path, runs: Path, observer: Observer
) -> WrittenCollection:
    """Have queries written for a corpus and write the collection of them, unless that was done before.

    If the budget ends or the LLM goes away, the queries that were written until then are used.

    Args:
        path: The corpus.
        options: The run's flags: generator, prices, ceilings and seed.
        queries: Passages that a query is written for, at most.
        workspace: Folder with ``programs/``.
        runs: Folder of runs.
        observer: Receives events.

    Raises:
        DataError: The corpus cannot be used, too few usable queries were written, or most do not fit their passages.
        GenerationError: The LLM answered nothing.
        ConfigError: The model or the program cannot be used.
    """
    seed = options.seed or 0
    _show(observer, "stage", "corpus", f"reading {path}")
    plan = plan_corpus(path, queries=queries, seed=seed)
    for note in plan.corpus.notes:
        _show(observer, "warning", "corpus", note)
    _show(observer, "note", "corpus", plan.summary)
    job, clock = _job(plan, options, workspace, runs, seed)
    _show(observer, "stage", "synthesize", f"{options.generator} writes queries for {len(plan.drawn):,} passages")
    stage, ended_by = _written(job, clock, runs, observer)
    if ended_by:
        _show(observer, "warning", "synthesize", f"{ended_by}; what was written until then is used")
    made = _made(plan, read_json(stage / "pairs.json"), job, ended_by, observer)
    found = _round_trip(made.collection)
    if found < FEWEST_FOUND:
        raise DataError(
            f"BM25 finds the passage of {found:.0%} of the queries written for corpus {plan.corpus.name} among its "
            f"first {ROUND_TRIP}, so most of them do not ask for their passage; {WAY_ON}"
        )
    spent = spending(job.generator.ledger)
    record = {
        **_record(plan, made, options.generator),
        "bm25_finds": round(found, 4),
        "usd": spent.usd,
        "calls": spent.calls,
        "minutes": round(stored_seconds(clock) / 60, 2),
    }
    return _result(_stored(made.collection, record, plan.corpus.name, runs), observer)


class StoredPairs(TypedDict):
    """What is read of ``pairs.json`` of a stage."""

    pairs: list[dict[str, str]]
    written: int
    refused: dict[str, int]


def _made(
    plan: CorpusPlan, stage: StoredPairs, job: QueriesJob, ended_by: str | None, observer: Observer
) -> SyntheticCollection:
    """Return the collection of the queries in ``pairs.json`` of a stage."""
    _show_counts(stage, len(plan.drawn), observer)
    passages = {text: key for key, text in plan.drawn.items()}
    return synthetic_collection(
        plan.corpus.name,
        plan.passages,
        [(passages[row["positive"]], str(row["query"])) for row in stage["pairs"]],
        writer=job.generator.options.model,
        seed=job.seed,
        refused=stage["refused"],
        way_on=ended_by or WAY_ON,
    )


def _record(plan: CorpusPlan, made: SyntheticCollection, generator: str) -> dict[str, object]:
    return {
        "generator": generator,
        "documents": len(plan.corpus.documents),
        "passages": len(plan.passages.documents),
        "asked": len(plan.drawn),
        "queries": {name: len(split.queries) for name, split in made.collection.splits.items()},
        "left_out": dict(made.left_out),
        "samples": list(made.collection.splits["train"].queries.values())[:SAMPLES],
    }


def _show(observer: Observer, kind: Literal["stage", "note", "warning"], name: str, text: str) -> None:
    observer({"kind": kind, "name": name, "text": text})


def _job(plan: CorpusPlan, options: Options, workspace: Path, runs: Path, seed: int) -> tuple[QueriesJob, Path]:
    access = LlmAccess(
        options=llm_options(options),
        cache=runs / CACHE / "llm",
        ledger=runs / CACHE / "corpus.jsonl",
        usd=options.budget_usd,
        minutes=WRITING_SHARE * (options.budget_minutes or MINUTES),
    )
    spec = SynthesizeSpec(queries=len(plan.drawn))
    job = QueriesJob(
        pool=plan.drawn,
        task=TASK,
        program=program_path(workspace, spec.query_program),
        generator=access,
        spec=spec,
        seed=seed,
    )
    # Each job has a ledger and a clock of its own, so that ceilings count what this job costs, over all processes.
    own = runs / CACHE / job.folder_name
    clock = own.with_suffix(".clock")
    return replace(job, generator=replace(access, ledger=own.with_suffix(".jsonl"), clock=clock)), clock


def _written(job: QueriesJob, clock: Path, runs: Path, observer: Observer) -> tuple[Path, str | None]:
    """Build the stage; if the LLM or its budget gives out, one of the answers that were paid for.

    Returns:
        The stage's folder, and why writing ended early; None: it did not.
    """
    with watched_by(ObserverWatcher(observer)), RunClock(clock):
        try:
            return build_job(job, runs), None
        except GenerationError as error:
            answered = len(read_jsonl(job.generator.ledger))
            if not answered:
                raise
            return build_job(replace(job, generator=job.generator.without_asking(answered)), runs), str(error)


def _show_counts(counts: StoredPairs, drawn: int, observer: Observer) -> None:
    refused = ", ".join(f"{number} {reason}" for reason, number in sorted(counts["refused"].items()))
    text = f"{counts['written']:,} queries written for {drawn:,} passages{f'; refused: {refused}' if refused else ''}"
    _show(observer, "warning" if counts["written"] < drawn else "note", "synthesize", text)


def _stored(collection: Collection, record: Mapping[str, object], corpus: str, runs: Path) -> Path:
    """Write the collection under a name made of its content; the record of its first writing stays."""
    digest = content_hash([collection.content_hash, collection.source])[:8]
    folder = runs / CORPORA / f"{domain_name(corpus)[:_LONGEST_NAME].rstrip('._-')}-synthetic-{digest}"
    if not folder.exists():
        write_beir(collection, folder)
    if not (folder / ABOUT).exists():
        write_json(folder / ABOUT, record)
    return folder


def _result(folder: Path, observer: Observer) -> WrittenCollection:
    about = read_json(folder / ABOUT)
    sizes = ", ".join(f"{name} {count}" for name, count in about["queries"].items())
    reasons = ", ".join(f"{count} {reason}" for reason, count in about["left_out"].items())
    text = (
        f"{folder}: {sizes} queries, split by document; {about['usd']:.4f} USD, {about['calls']} calls; BM25 finds the "
        f"passage of {about['bm25_finds']:.0%} of the queries among its first {ROUND_TRIP}"
    )
    for line in (
        f"{text}{f'; left out: {reasons}' if reasons else ''}",
        f"some of them: {' | '.join(about['samples'])}; if people would not ask so, name a stronger --generator",
        f"to turn dev into people's judgements: stm-agent annotate --collection {folder} --split dev",
    ):
        _show(observer, "note", "corpus", line)
    return WrittenCollection(folder=folder, usd=about["usd"], minutes=about["minutes"])


def _round_trip(collection: Collection) -> float:
    """Return the share of the queries whose passage is among the first that BM25 finds."""
    queries = {key: text for split in collection.splits.values() for key, text in split.queries.items()}
    qrels = {key: row for split in collection.splits.values() for key, row in split.qrels.items()}
    run = Bm25Index(collection.texts).run(queries, ROUND_TRIP)
    return sum(not qrels[key].keys().isdisjoint(run.get(key, {})) for key in queries) / len(queries)
