"""A teacher's scores in a run: of models and files at once; of an LLM within its calls, and not for its own queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection_spec import BeirCollection
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.spec import WRITTEN
from stm_agent.domain.teacher_spec import OWN
from stm_agent.files import read_json
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.options import LlmOptions
from stm_agent.loop.context import RunContext
from stm_agent.loop.data_jobs import Miner, drawn, searched_pool
from stm_agent.loop.salvaging import build_or_salvage
from stm_agent.loop.written_collection import ABOUT
from stm_agent.mine.lists import Lists, load_lists
from stm_agent.mine.own_scores import own_lists
from stm_agent.mine.teaching import COUNTS, TeachingJob
from stm_agent.synthesize.judged_teaching import JUDGED, JudgedTeachingJob
from stm_agent.workspace import program_path

LEVER = "teacher scores"


def taught_lists(context: RunContext, data: DomainData, pairs: tuple[Pair, ...], own: Miner | None = None) -> Lists:
    """Return scores of candidates for pairs: those that they carry, and for the others the teacher's.

    Pairs without scores are left out: all of the others if the teacher fails, some if an LLM gives out.

    Args:
        context: The run.
        data: Its data, with the sources that the pairs come from.
        pairs: What is scored.
        own: Encoder ``own`` of the teacher, if it has one; None: the run's start.
    """
    lists: Lists = own_lists(pairs, context.spec.teach)
    others = tuple(pair for pair in pairs if pair.id not in lists)
    if lists:
        context.note("teach", f"{len(lists):,} pairs have scores of their own, {len(others):,} need the teacher's")
    if not others or not context.has_time(LEVER):
        return lists
    folder: Path | None = None
    with context.attempt(LEVER):
        folder = _teaching(context, data, others, own)
    return lists if folder is None else {**lists, **load_lists(folder)}


def _teaching(context: RunContext, data: DomainData, pairs: tuple[Pair, ...], own: Miner | None) -> Path | None:
    """Return the stage with a teacher's scores; None: there are none."""
    spec = context.spec.teach
    if spec.judge is not None:
        pairs = _judged_pairs(context, pairs, context.generator.as_judge(spec.judge).options)
    if not pairs:
        return None
    job = TeachingJob(
        pairs=pairs, pool=searched_pool(context.spec, data), groups=data.groups, spec=spec, cache=context.cache
    )
    if OWN in spec.encoders:
        encoder, instruction = own or _start(context)
        job = replace(job, retriever=encoder, instruction=instruction)
    with context.timed("teach", f"{spec.scores} scores candidates of {len(pairs):,} pairs"):
        folder = context.build(job) if spec.judge is None else _judged(context, job, spec.judge)
    if folder is not None:
        _report(context, folder, len(pairs))
    return folder


def _start(context: RunContext) -> Miner:
    return context.backbone, Instruction.none(context.backbone.open().model.prompts)


def _report(context: RunContext, folder: Path, pairs: int) -> None:
    counts = read_json(folder / COUNTS)
    for reason in ("pairs whose positive has no score", "pairs without a candidate"):
        if missing := counts.get(reason):
            context.warn("teach", f"{missing:,} of {pairs:,} {reason}")
    if judged := counts.get(JUDGED):
        lost = [f"{number:,} {reason}" for reason, number in sorted(judged["refused"].items())]
        lost += [f"ended early: {judged['ended_by']}"] if judged["ended_by"] else []
        text = f"{judged['written']:,} of {judged['asked']:,} judgements usable"
        (context.warn if lost else context.note)("teach", "; ".join([text, *lost]))


def _judged(context: RunContext, teaching: TeachingJob, judge: str) -> Path | None:
    """Return the stage with an LLM's grades, of those that were paid for if it gives out; None: there are none."""
    program = program_path(context.workspace, "judge")

    def job(generator: LlmAccess) -> JudgedTeachingJob:
        access = generator.as_judge(judge)
        return JudgedTeachingJob(teaching=teaching, task=context.spec.task, program=program, judge=access)

    return build_or_salvage(context, LEVER, job)


def _judged_pairs(context: RunContext, pairs: Sequence[Pair], judge: LlmOptions) -> tuple[Pair, ...]:
    """Return the pairs that an LLM grades: as many as its calls allow, none whose query it wrote."""
    spec = context.spec.teach
    own = set() if spec.own_text else _own_queries(context, pairs, judge)
    if own:
        text = f"{len(own):,} of {len(pairs):,} pairs are not graded: {judge.model} wrote, or may have written, their"
        context.warn("teach", f"{text} queries (teach: own_text allows it)")
    others = [pair for pair in pairs if pair.id not in own]
    chosen = drawn(others, spec.judged_pairs)
    if len(chosen) < len(others):
        text = f"{len(chosen):,} of {len(others):,} pairs are graded by {judge.model} (teach: judged: {spec.judged})"
        context.note("teach", f"{text}; experts that distil learn from these alone")
    return chosen


def _own_queries(context: RunContext, pairs: Sequence[Pair], judge: LlmOptions) -> set[str]:
    """Return the ids of pairs whose query the judge wrote, in this run or for a synthetic collection.

    Where nobody knows who wrote a synthetic train split, it may have been the judge.
    """
    own = {pair.id for pair in pairs if pair.source == WRITTEN and judge.is_model(context.generator.options.model)}
    train = context.data.collection.splits.get("train")
    if train is not None and train.synthetic:
        writer = _writer(context)
        if writer is None or judge.is_model(writer):
            texts = set(train.queries.values())
            own |= {pair.id for pair in pairs if pair.query in texts}
    return own


def _writer(context: RunContext) -> str | None:
    """Return the LLM that wrote a synthetic collection; None: nothing says so."""
    spec = context.spec.collection
    about = context.workspace / spec.path / ABOUT if isinstance(spec, BeirCollection) else None
    if about is None or not about.is_file():
        return None
    generator: str | None = read_json(about).get("generator")
    return generator
