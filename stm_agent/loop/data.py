"""The data lever: hard negatives mined from the corpus, read from its structure, and written by the generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.spec import WRITTEN, ExpertSpec
from stm_agent.domain.synthetic import FEWEST_QUERIES, WAY_ON
from stm_agent.domain.unlabelled import pairs_of_source, with_unlabelled
from stm_agent.files import read_json
from stm_agent.loop.auditing import audited
from stm_agent.loop.context import RunContext
from stm_agent.loop.data_jobs import (
    Miner,
    mined_pairs,
    mining_job,
    searched_pool,
)
from stm_agent.loop.identity import lists_experts
from stm_agent.loop.round_trip import FEWEST_FOUND, ROUND_TRIP, share_found
from stm_agent.loop.round_trip_probe import ProbedPairs
from stm_agent.loop.teaching import taught_lists
from stm_agent.loop.training_data import TrainingData
from stm_agent.loop.writing import NO_PROGRAMS, graded_passages, more_written_queries, written_negatives
from stm_agent.mine.evidence import Found
from stm_agent.mine.job import DOUBTFUL, RELEVANT
from stm_agent.mine.lists import Lists
from stm_agent.mine.own_scores import unused_scores
from stm_agent.mine.reviewed import refused, without_refused
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.graded import GradedPassages
from stm_agent.train.job import NO_NEGATIVES, Negatives


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


def prepare_training_data(
    context: RunContext,
    miner: Miner,
    programs: Mapping[str, Path] = NO_PROGRAMS,
    written: tuple[Pair, ...] = (),
) -> TrainingData:
    """Write queries, mine negatives and write negatives for the experts of this round.

    A part that fails is left out; experts then train on the other parts.

    Args:
        context: The run.
        miner: The encoder of the dense retriever and of the positive-aware filter.
        programs: Programs that write since a search of their text, see :class:`~stm_agent.loop.state.State`.
        written: Pairs of an earlier round, whose queries are not written again; empty: none.
    """
    probed = ProbedPairs(written) if written else _written_queries(context, programs)
    written = probed.pairs
    data = _with_all_sources(context)
    graded: Mapping[str, GradedPassages] = {}
    if context.has_time("graded passages"):
        graded = graded_passages(context, _graded_pairs(context, TrainingData(written=written)), programs)
    lists = _taught(context, data, TrainingData(written=written))
    training_data = TrainingData(written=written, lists=lists, graded=graded, compared=probed.compared)
    pairs = mined_pairs(context.spec, data)
    if not pairs or not context.has_time("negatives"):
        return training_data
    return _with_negatives(context, data, pairs, miner, programs, training_data)


def _written_queries(context: RunContext, programs: Mapping[str, Path]) -> ProbedPairs:
    """Return pairs of written queries, if an expert asks for them."""
    if not any(WRITTEN in expert.sources for expert in context.spec.experts) or not context.has_time("written queries"):
        return ProbedPairs(())
    pool = searched_pool(context.spec, context.data)
    written = more_written_queries(context, pool, context.spec.synthesize.queries, programs)
    return replace(written, pairs=_usable(context, written.pairs)) if written.pairs else written


def _usable(context: RunContext, written: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Return written pairs, or none if a plan asked for them and most queries do not ask for their passages."""
    if context.plan is None or lists_experts(context.run.identity):
        # Whoever lists experts decides what they learn from.
        return written
    ids: dict[str, set[str]] = {}
    for name, text in context.documents.items():
        ids.setdefault(text, set()).add(name)
    queries = {pair.id: pair.query for pair in written}
    with context.clock.working():
        found = share_found(context.lexical, queries, {pair.id: ids.get(pair.positive, set()) for pair in written})
    text = f"BM25 finds the passage of {found:.0%} of the {len(written):,} written queries among its first {ROUND_TRIP}"
    if len(written) >= FEWEST_QUERIES and found >= FEWEST_FOUND:
        context.note("data", text)
        return written
    few = f"; at least {FEWEST_QUERIES} are needed" if len(written) < FEWEST_QUERIES else ""
    context.warn("data", f"{text}{few}, so experts learn without them; {WAY_ON}")
    return ()


def _with_all_sources(context: RunContext) -> DomainData:
    """Return the data with the sources that experts ask for and that are made of the corpus alone."""
    return with_unlabelled(context.data, (source for expert in context.spec.experts for source in expert.sources))


def _with_negatives(
    context: RunContext,
    data: DomainData,
    pairs: tuple[Pair, ...],
    miner: Miner,
    programs: Mapping[str, Path],
    training_data: TrainingData,
) -> TrainingData:
    """Mine negatives for pairs, have others written beside them, and audit both."""
    found = Found(negatives={}, doubtful={}, relevant={}, written={})
    with context.attempt("mining"):
        found = _mined(context, data, pairs, miner)
    mined = _without_refused(context, pairs, found.negatives)
    asks_negatives = any(expert.negatives.synthetic for expert in context.spec.experts)
    synthetic, trial = NO_NEGATIVES, None
    if asks_negatives and mined and context.has_time("written negatives"):
        synthetic, trial = written_negatives(context, pairs, mined, programs)
    training_data = replace(
        training_data, mined=mined, synthetic=_without_refused(context, pairs, synthetic), trial=trial
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
    pairs = mined_pairs(context.spec, _with_all_sources(context))
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
    # Experts of queries are taught when the model that they stand on is known.
    experts = [expert for expert in context.spec.experts if expert.learns_from_scores and expert.side == "both"]
    distinct = {pair.id: pair for expert in experts for pair in pairs_of(context, expert, written)}
    return taught_lists(context, data, tuple(distinct.values()))


def _mined(context: RunContext, data: DomainData, pairs: tuple[Pair, ...], miner: Miner) -> Found:
    job = mining_job(context.spec, data, pairs, miner, context.cache)
    with context.timed("mine", f"mining negatives for {len(pairs):,} pairs in {len(job.pool):,} passages"):
        folder = context.build(job)
    if bare := read_json(folder / "counts.json").get("pairs without a negative"):
        context.warn("mine", f"{bare:,} of {len(pairs):,} pairs have no mined negative")
    doubtful, relevant = (load_negatives(folder / name) for name in (DOUBTFUL, RELEVANT))
    return Found(negatives=load_negatives(folder), doubtful=doubtful, relevant=relevant, written={})


def _graded_pairs(context: RunContext, written: TrainingData) -> tuple[Pair, ...]:
    """Return the pairs of the experts that ask for related passages, those that have none."""
    experts = [expert for expert in context.spec.experts if expert.related]
    pairs = {pair.id: pair for expert in experts for pair in pairs_of(context, expert, written) if not pair.related}
    return tuple(pairs.values())
