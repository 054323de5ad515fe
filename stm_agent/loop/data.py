"""The data lever: hard negatives mined from the corpus, read from its structure, and written by the generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.spec import WRITTEN, ExpertSpec
from stm_agent.domain.unlabelled import pairs_of_source, with_unlabelled
from stm_agent.errors import GenerationError
from stm_agent.files import read_json, read_jsonl
from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.auditing import audited
from stm_agent.loop.context import RunContext
from stm_agent.loop.data_jobs import (
    Miner,
    first_miner,
    graded_job,
    mined_pairs,
    mining_job,
    negatives_job,
    queries_job,
    searched_pool,
)
from stm_agent.loop.training_data import TrainingData
from stm_agent.mine.evidence import Found
from stm_agent.mine.job import DOUBTFUL, RELEVANT
from stm_agent.mine.lists import Lists, load_lists
from stm_agent.mine.own_scores import own_lists, unused_scores
from stm_agent.mine.reviewed import refused, without_refused
from stm_agent.mine.store import load_negatives
from stm_agent.mine.teaching import TeachingJob
from stm_agent.synthesize.graded import GradedPassages
from stm_agent.traces import Trace, TraceStore
from stm_agent.train.job import NO_NEGATIVES, Negatives
from stm_agent.workspace import program_path


def pairs_of(context: RunContext, expert: ExpertSpec, training_data: TrainingData) -> tuple[Pair, ...]:
    """Return all pairs of an expert's sources, with what the generator wrote and what the audit made positives."""
    # A teacher has no list for a pair that the audit made.
    relabelled = () if expert.learns_from_scores else training_data.relabelled
    return training_data.with_related(
        expert,
        (
            pair
            for source in expert.sources
            for pair in (
                *(training_data.written if source == WRITTEN else pairs_of_source(context.data, source)),
                *(pair for pair in relabelled if pair.source == source),
            )
        ),
    )


def prepare_training_data(context: RunContext, miner: Miner) -> TrainingData:
    """Write queries, mine negatives and write negatives for the experts of this round.

    A part that fails is left out; experts then train on the other parts.

    Args:
        context: The run.
        miner: The encoder of the dense retriever and of the positive-aware filter.
    """
    experts = context.spec.experts
    asks_queries = any(WRITTEN in expert.sources for expert in experts)
    written: tuple[Pair, ...] = ()
    if asks_queries and context.has_time("written queries"):
        pool = searched_pool(context.spec, context.data)
        written = more_written_queries(context, pool, context.spec.synthesize.queries)
    data = with_unlabelled(context.data, (source for expert in experts for source in expert.sources))
    graded = _graded(context, TrainingData(written=written)) if context.has_time("graded passages") else {}
    lists = _taught(context, data, TrainingData(written=written))
    pairs = mined_pairs(context.spec, data)
    if not pairs or not context.has_time("negatives"):
        return TrainingData(written=written, lists=lists, graded=graded)
    found = Found(negatives={}, doubtful={}, relevant={}, written={})
    with context.attempt("mining"):
        found = _mined(context, data, pairs, miner)
    mined = _without_refused(context, pairs, found.negatives)
    asks_negatives = any(expert.negatives.synthetic for expert in experts)
    synthetic, trial = NO_NEGATIVES, None
    if asks_negatives and mined and context.has_time("written negatives"):
        synthetic, trial = _written_negatives(context, pairs, mined)
    training_data = TrainingData(
        mined=mined,
        synthetic=_without_refused(context, pairs, synthetic),
        written=written,
        lists=lists,
        graded=graded,
        trial=trial,
    )
    if not found.negatives:
        return training_data
    return audited(context, pairs, replace(found, written=synthetic), miner, training_data)


def audit_again(context: RunContext, training_data: TrainingData, auditor: Miner) -> TrainingData:
    """Audit what was mined and written for this round once more, from its beginning, with another encoder.

    Args:
        context: The run.
        training_data: Data that were audited before; others are returned as they are.
        auditor: The encoder whose scores are the evidence.
    """
    found = training_data.found
    if found is None:
        return training_data
    experts = context.spec.experts
    data = with_unlabelled(context.data, (source for expert in experts for source in expert.sources))
    pairs = mined_pairs(context.spec, data)
    before = replace(
        training_data,
        mined=_without_refused(context, pairs, found.negatives),
        synthetic=_without_refused(context, pairs, found.written),
        relabelled=(),
    )
    again = audited(context, pairs, found, auditor, before)
    # An audit that failed must not bring back what the first one left out.
    return training_data if again is before else again


def _without_refused(context: RunContext, pairs: Sequence[Pair], negatives: Negatives) -> Negatives:
    """Leave out negatives that reviewers refused in the annotation tool."""
    reviewed = refused(context.workspace)
    if not reviewed:
        return negatives
    left, removed = without_refused(pairs, negatives, reviewed)
    if removed:
        context.note("data", f"{removed} negatives left out: reviewers called them relevant or broken")
    return left


def _taught(context: RunContext, data: DomainData, written: TrainingData) -> Lists:
    """Return scores for the pairs of all experts that learn from them: the data's own, else a teacher's."""
    if line := unused_scores(context.spec.experts, (pair for row in data.sources.values() for pair in row)):
        context.warn("data", line)
    experts = [expert for expert in context.spec.experts if expert.learns_from_scores]
    distinct = {pair.id: pair for expert in experts for pair in pairs_of(context, expert, written)}
    lists: Lists = own_lists(distinct.values(), context.spec.teach)
    pairs = tuple(pair for pair in distinct.values() if pair.id not in lists)
    if lists:
        context.note("teach", f"{len(lists):,} pairs have scores of their own, {len(pairs):,} need the teacher's")
    if not pairs or not context.has_time("teacher scores"):
        return lists
    return {**lists, **teacher_lists(context, data, pairs)}


def teacher_lists(context: RunContext, data: DomainData, pairs: tuple[Pair, ...]) -> Lists:
    """Return a teacher's scores of candidates for pairs; none if the teacher fails."""
    pool, spec = searched_pool(context.spec, data), context.spec.teach
    job = TeachingJob(pairs=pairs, pool=pool, groups=data.groups, spec=spec, cache=context.cache)
    lists: Lists = {}
    with context.attempt("teacher scores"):
        with context.timed("teach", f"{spec.scores} scores candidates of {len(pairs):,} pairs"):
            folder = context.build(job)
        counts = read_json(folder / "counts.json")
        for reason in ("pairs whose positive has no score", "pairs without a candidate"):
            if missing := counts.get(reason):
                context.warn("teach", f"{missing:,} of {len(pairs):,} {reason}")
        lists = load_lists(folder)
    return lists


def _mined(context: RunContext, data: DomainData, pairs: tuple[Pair, ...], miner: Miner) -> Found:
    job = mining_job(context.spec, data, pairs, miner, context.cache)
    with context.timed("mine", f"mining negatives for {len(pairs):,} pairs in {len(job.pool):,} passages"):
        folder = context.build(job)
    if bare := read_json(folder / "counts.json").get("pairs without a negative"):
        context.warn("mine", f"{bare:,} of {len(pairs):,} pairs have no mined negative")
    doubtful, relevant = (load_negatives(folder / name) for name in (DOUBTFUL, RELEVANT))
    return Found(negatives=load_negatives(folder), doubtful=doubtful, relevant=relevant, written={})


def more_written_queries(context: RunContext, pool: Mapping[str, str], count: int) -> tuple[Pair, ...]:
    """Return pairs whose queries the generator writes for passages of a pool; fewer if it gives out.

    Args:
        context: The run.
        pool: Passage id -> text.
        count: Queries wanted.
    """
    from stm_agent.synthesize.queries import load_pairs

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

        def job(generator: LlmAccess) -> Job:
            return replace(whole, generator=generator)

        with context.timed("synthesize", f"{context.generator.options.model} writes {count:,} queries"):
            folder = _build_or_salvage(context, "written queries", job)
    if folder is None:
        return ()
    _report_counts(context, "queries", folder / "pairs.json")
    _trace(context, whole.program, folder / "pairs.json")
    return load_pairs(folder)


def _written_negatives(context: RunContext, pairs: Sequence[Pair], mined: Negatives) -> tuple[Negatives, str | None]:
    spec = context.spec.synthesize
    chosen = negatives_job(context.spec, context.workspace, pairs, mined, context.generator, spec.pairs)

    def job(generator: LlmAccess) -> Job:
        return replace(chosen, generator=generator)

    model = context.generator.options.model
    with context.timed(
        "synthesize", f"{model} writes {chosen.count} hard negatives for each of {len(chosen.pairs)} pairs"
    ):
        folder = _build_or_salvage(context, "written negatives", job)
    if folder is None:
        return NO_NEGATIVES, None
    _report_counts(context, "hard negatives", folder / "written.json")
    trial = _trace(context, program_path(context.workspace, spec.program), folder / "written.json")
    return load_negatives(folder), trial


def _graded(context: RunContext, written: TrainingData) -> Mapping[str, GradedPassages]:
    """Return written passages of lower relevance for pairs of the experts that ask for related ones."""
    from stm_agent.synthesize.graded import load_graded

    experts = [expert for expert in context.spec.experts if expert.related]
    pairs = {pair.id: pair for expert in experts for pair in pairs_of(context, expert, written) if not pair.related}
    if not pairs or not context.spec.synthesize.graded:
        return {}
    folder: Path | None = None
    with context.attempt("graded passages"):
        whole = graded_job(context.spec, context.workspace, tuple(pairs.values()), context.generator)

        def job(generator: LlmAccess) -> Job:
            return replace(whole, generator=generator)

        model = context.generator.options.model
        with context.timed("synthesize", f"{model} writes passages of lower relevance for {len(whole.pairs)} pairs"):
            folder = _build_or_salvage(context, "graded passages", job)
    if folder is None:
        return {}
    _report_counts(context, "graded passages", folder / "written.json")
    _trace(context, whole.program, folder / "written.json")
    return load_graded(folder)


def _build_or_salvage(context: RunContext, lever: str, job: Callable[[LlmAccess], Job]) -> Path | None:
    """Build a job in which an LLM writes; if the LLM or its budget gives out, use the answers that were paid for.

    The salvaged result has a key of its own, so that a later process with a working LLM builds the whole one.
    """
    folder: Path | None = None
    with context.attempt(lever) as caught:
        return context.build(job(context.generator))
    answered = len(read_jsonl(context.run.llm_ledger))
    if isinstance(caught[0], GenerationError) and answered:
        with context.attempt(lever):
            folder = context.build(job(context.generator.without_asking(answered)))
    return folder


def _report_counts(context: RunContext, what: str, path: Path) -> None:
    """Note how many texts were written and why the others were refused."""
    counts: Mapping[str, Any] = read_json(path)
    refusals = ", ".join(f"{number} {reason}" for reason, number in sorted(counts["refused"].items()))
    text = f"{counts['written']} of {counts['asked']} {what} written"
    text += f"; refused: {refusals}" if refusals else ""
    text += f"; {counts['inputs_cut']} inputs cut to the model's context" if counts.get("inputs_cut") else ""
    lacks = counts["written"] < counts["asked"] or counts.get("inputs_cut")
    (context.warn if lacks else context.note)("synthesize", text)


def _trace(context: RunContext, program: Path, written: Path) -> str | None:
    """Record the generator's program in the run's traces; return the name of its trial."""
    sample = read_json(written).get("sample")
    if not sample:
        return None
    text = sample.pop("instructions")
    trace = Trace("program", text, "workspace", context.generator.options.model, program=str(program), **sample)
    trial = TraceStore(context.run.traces).add(trace)
    context.run.ledger.record("written", folder=written.parent.name, trial=trial)
    return trial
