"""``stm-agent synthesize``: queries, hard negatives or graded passages as one stage, without a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stm_agent.clock import RunClock
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.files import content_hash, read_json, remove_partial, whole_folder, write_json
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.budget import read_spending
from stm_agent.loop.data_jobs import first_miner, graded_job, negatives_job, queries_job, searched_pool
from stm_agent.loop.lengths import with_number_formats
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import CACHE
from stm_agent.loop.salvaging import build_as_paid
from stm_agent.loop.single import build_job, fresh_output, mined_for, pairs_to_mine
from stm_agent.synthesize.jobs import WritingJob

What = Literal["queries", "negatives", "graded"]
WHAT: tuple[What, ...] = ("queries", "negatives", "graded")
USUAL_GRADED = 24
"""Pairs that get graded passages if neither the command nor the domain names a number."""
LOST_KEPT = "kept though they miss their passage"


@dataclass(frozen=True)
class WrittenStage:
    """The stage of one kind, and why it ended early; None: it is whole."""

    folder: Path
    ended_by: str | None


def synthesize_domain(
    spec: DomainSpec,
    workspace: Path,
    runs: Path,
    output: Path,
    options: Options,
    *,
    limit: int | None,
    what: Sequence[str] = ("negatives",),
) -> dict[str, object]:
    """Let an LLM write into ``output``; return counts and cost, by kind if several are written.

    Several kinds are written into folders of their names below ``output``. If the budget ends or the LLM goes away,
    what was written until then is stored, and the counts have ``ended_by``.

    Args:
        spec: The domain.
        workspace: Folder with ``programs/``.
        runs: Folder of runs, stages and caches.
        output: Folder to write; it must not exist.
        options: The LLM, its ceilings, which hold for all kinds together, and the seed.
        limit: Number of queries, or of pairs; None: the domain's, chosen as in the loop.
        what: Kinds of :data:`WHAT`.

    Raises:
        ConfigError: ``output`` exists, a kind does not, or there is nothing to write for.
        GenerationError: The LLM or its budget gave out before anything was written.
    """
    if unknown := [kind for kind in what if kind not in WHAT] or (["nothing"] if not what else []):
        raise ConfigError(f"--what {unknown[0]} cannot be written; use {', '.join(WHAT)}")
    target, spec = fresh_output(output), with_number_formats(options.with_structured(spec))
    spec = spec.model_copy(update={"seeds": (options.seed_of(spec),)})
    jobs, clock = _jobs(spec, workspace, runs, options, limit, what)
    counts: dict[str, dict[str, object]] = {}
    written: dict[str, WrittenStage] = {}
    with RunClock(clock):
        for kind, job in jobs.items():
            before = read_spending(job.generator.ledger)
            # Once something is written, the rest of the kinds is written as far as answers were paid for.
            folder, ended = build_as_paid(lambda job: build_job(job, runs), job, without_answers=bool(written))
            spent, written[kind] = read_spending(job.generator.ledger), WrittenStage(folder, ended)
            paid = {"usd": spent.usd - before.usd, "calls": spent.calls - before.calls}
            counts[kind] = {**_counts(folder), **paid, **({"ended_by": ended} if ended else {})}
    several = len(written) > 1
    _copy(written if several else {"": next(iter(written.values()))}, target)
    return dict(counts) if several else next(iter(counts.values()))


def _jobs(
    spec: DomainSpec, workspace: Path, runs: Path, options: Options, limit: int | None, what: Sequence[str]
) -> tuple[dict[str, WritingJob], Path]:
    """Return kind -> job, and the folder of their clock.

    All of them have one ledger and one clock, which are those of this command alone: a ceiling then holds for what the
    command costs, over all kinds and all processes that it takes.
    """
    access = LlmAccess(
        options=options.llm(spec, options.generator),
        cache=runs / CACHE / "llm",
        ledger=runs / CACHE / "synthesize.jsonl",
        usd=options.budget_usd,
        calls=options.budget_calls,
        minutes=options.budget_minutes,
    )
    jobs = {kind: JOBS[kind](spec, workspace, runs, access, limit) for kind in dict.fromkeys(what)}
    own = runs / CACHE / f"synthesize-{content_hash([job.folder_name for job in jobs.values()])[:16]}"
    clock = own.with_suffix(".clock")
    access = replace(access, ledger=own.with_suffix(".jsonl"), clock=clock)
    return {kind: replace(job, generator=access) for kind, job in jobs.items()}, clock


def _counts_file(folder: Path) -> Path:
    return next(folder / name for name in ("pairs.json", "written.json") if (folder / name).is_file())


def _counts(folder: Path) -> dict[str, object]:
    counts = read_json(_counts_file(folder))
    pairs = counts["pairs"] if isinstance(counts["pairs"], int) else len(counts["pairs"])
    more = {name: counts[name] for name in ("copied", "misread") if counts.get(name)}
    # No run is here to decide on these by a probe.
    more |= {LOST_KEPT: len(counts["lost"])} if counts.get("lost") else {}
    return {"pairs": pairs, "asked": counts["asked"], "written": counts["written"], **counts["refused"], **more}


def _copy(written: Mapping[str, WrittenStage], output: Path) -> None:
    """Copy the files of stages to ``output``, atomically; the counts of one that ended early say so."""
    remove_partial(output.parent, output.name)
    with whole_folder(output) as partial:
        for name, stage in written.items():
            target = partial / name
            shutil.copytree(stage.folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
            if stage.ended_by is not None:
                path = _counts_file(target)
                write_json(path, {**read_json(path), "ended_by": stage.ended_by})


def _queries(spec: DomainSpec, workspace: Path, runs: Path, generator: LlmAccess, limit: int | None) -> WritingJob:
    data = build_domain_data(spec.collection, workspace)
    wanted = spec.synthesize.model_copy(update={"queries": limit or spec.synthesize.queries})
    spec = spec.model_copy(update={"synthesize": wanted})
    pool, miner, cache = searched_pool(spec, data), first_miner(spec), runs / CACHE / "vectors"
    job = queries_job(spec, workspace, data, pool, miner, generator, seed=spec.seeds[0], cache=cache)
    if not wanted.queries:
        raise ConfigError(f"domain {spec.name} asks for no queries; name a number with --limit")
    # For a look at a few passages a seeded draw is enough: it needs no encoder.
    return job if limit is None else replace(job, spread=None)


def _negatives(spec: DomainSpec, workspace: Path, runs: Path, generator: LlmAccess, limit: int | None) -> WritingJob:
    pairs, mined = mined_for(spec, workspace, runs, limit)
    job = negatives_job(spec, workspace, pairs, mined, generator, limit or spec.synthesize.pairs)
    if not job.pairs:
        raise ConfigError(
            f"no training pair of domain {spec.name} has a mined negative; raise mine.depth or mine.margin"
        )
    return job


def _graded(spec: DomainSpec, workspace: Path, runs: Path, generator: LlmAccess, limit: int | None) -> WritingJob:
    count = limit or spec.synthesize.graded or USUAL_GRADED
    spec = spec.model_copy(update={"synthesize": spec.synthesize.model_copy(update={"graded": count})})
    pairs = pairs_to_mine(spec, build_domain_data(spec.collection, workspace))
    return graded_job(spec, workspace, pairs, generator)


JOBS: Mapping[str, Callable[[DomainSpec, Path, Path, LlmAccess, int | None], WritingJob]] = {
    "queries": _queries,
    "negatives": _negatives,
    "graded": _graded,
}
