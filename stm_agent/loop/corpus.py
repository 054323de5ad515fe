"""``optimize --corpus``: documents without queries become a collection whose queries an LLM wrote.

The collection is a BEIR folder of its own in ``runs/corpora``; a run then adapts to it as to any other folder. Answers
are cached and the written queries are a stage, so the same command pays nothing again, whatever start it adapts.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from stm_agent.clock import RunClock, stored_seconds
from stm_agent.domain.collection import Collection
from stm_agent.domain.load import TASK
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.domain.synthetic import WAY_ON, SyntheticCollection, synthetic_collection
from stm_agent.errors import DataError
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.files import read_json
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.budget import read_spending
from stm_agent.llm.checking import is_copied
from stm_agent.loop.corpus_plan import CorpusPlan, llm_options, plan_corpus
from stm_agent.loop.events import Observer, ObserverWatcher
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import CACHE
from stm_agent.loop.round_trip import FEWEST_FOUND, ROUND_TRIP, share_found
from stm_agent.loop.salvaging import build_as_paid
from stm_agent.loop.single import build_job
from stm_agent.loop.writing import WrittenCounts, losses
from stm_agent.loop.written_collection import WrittenCollection, described, store_collection
from stm_agent.progress import watched_by
from stm_agent.synthesize.jobs import QueriesJob
from stm_agent.workspace import program_path

WRITING_SHARE = 0.4
"""Share of the minutes that writing may take."""
MOST_COPIED = 0.2
"""Share of copies among the written queries above which a stronger generator is recommended."""
SAMPLES = 3
"""Written queries that are shown: no check of form sees what a person sees at once."""


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
    spent = read_spending(job.generator.ledger)
    record = {
        **_record(plan, made, options.generator),
        "copied": made.copied,
        "bm25_finds": round(found, 4),
        "usd": spent.usd,
        "calls": spent.calls,
        "minutes": round(stored_seconds(clock) / 60, 2),
    }
    return described(store_collection(made.collection, record, plan.corpus.name, runs), observer)


class StoredPairs(WrittenCounts):
    """What is read of ``pairs.json`` of a stage."""

    pairs: list[dict[str, str]]


def _made(
    plan: CorpusPlan, stage: StoredPairs, job: QueriesJob, ended_by: str | None, observer: Observer
) -> SyntheticCollection:
    """Return the collection of the queries in ``pairs.json`` of a stage."""
    _show_counts(stage, len(plan.drawn), observer)
    passages = {text: key for key, text in plan.drawn.items()}
    written = [(passages[row["positive"]], str(row["query"])) for row in stage["pairs"]]
    return synthetic_collection(
        plan.corpus.name,
        plan.passages,
        written,
        writer=job.generator.options.model,
        seed=job.seed,
        refused=stage["refused"],
        copied={(passage, query) for passage, query in written if is_copied(query, plan.drawn[passage])},
        way_on=ended_by or WAY_ON,
    )


def _record(plan: CorpusPlan, made: SyntheticCollection, generator: str) -> dict[str, object]:
    train = list(made.collection.splits["train"].queries.values())
    return {
        "generator": generator,
        "documents": len(plan.corpus.documents),
        "passages": len(plan.passages.documents),
        "asked": len(plan.drawn),
        "queries": {name: len(split.queries) for name, split in made.collection.splits.items()},
        "left_out": dict(made.left_out),
        # Copies come first in train: the samples are spread over it.
        "samples": train[:: -(-len(train) // SAMPLES)],
    }


def _show(observer: Observer, kind: Literal["stage", "note", "warning"], name: str, text: str) -> None:
    observer({"kind": kind, "name": name, "text": text})


def _job(plan: CorpusPlan, options: Options, workspace: Path, runs: Path, seed: int) -> tuple[QueriesJob, Path]:
    minutes = options.with_ceiling(planned=True).budget_minutes
    access = LlmAccess(
        options=llm_options(options),
        cache=runs / CACHE / "llm",
        ledger=runs / CACHE / "corpus.jsonl",
        usd=options.budget_usd,
        calls=options.budget_calls,
        minutes=None if minutes is None else WRITING_SHARE * minutes,
    )
    spec = SynthesizeSpec(queries=len(plan.drawn))
    job = QueriesJob(
        pool=plan.drawn,
        task=TASK,
        program=program_path(workspace, spec.query_program),
        generator=access,
        spec=options.writing(spec),
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
        return build_as_paid(lambda job: build_job(job, runs), job)


def _show_counts(counts: StoredPairs, drawn: int, observer: Observer) -> None:
    text = f"{counts['written']:,} queries written for {drawn:,} passages{losses(counts, '--structured never')}"
    lacks = counts["written"] < drawn or counts.get("misread")
    _show(observer, "warning" if lacks else "note", "synthesize", text)
    if copied := counts.get("copied"):
        text = f"{copied:,} of the {counts['written']:,} queries are copied from their passage; they only train"
        many = copied > MOST_COPIED * counts["written"]
        text += ": a stronger --generator asks in words of its own" if many else ""
        _show(observer, "warning" if many else "note", "synthesize", text)


def _round_trip(collection: Collection) -> float:
    """Return the share of the queries of dev and test whose passage is among the first that BM25 finds.

    Queries of train may be copied from their passages, which BM25 finds always.
    """
    splits = [collection.splits[name] for name in ("dev", "test")]
    queries = {key: text for split in splits for key, text in split.queries.items()}
    qrels = {key: row for split in splits for key, row in split.qrels.items()}
    return share_found(Bm25Index(collection.texts), queries, qrels)
