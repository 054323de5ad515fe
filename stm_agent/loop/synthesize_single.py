"""``stm-agent synthesize``: queries, hard negatives or graded passages as one stage, without a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from stm_agent.domain.build import build_domain_data
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.files import read_json, remove_partial, whole_folder
from stm_agent.llm.access import LlmAccess, spending
from stm_agent.loop.data_jobs import first_miner, graded_job, negatives_job, queries_job, searched_pool
from stm_agent.loop.lengths import with_number_formats
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import CACHE
from stm_agent.loop.single import build_job, fresh_output, mined_for, pairs_to_mine
from stm_agent.synthesize.jobs import GradedJob, HardNegativesJob, QueriesJob

What = Literal["queries", "negatives", "graded"]
WHAT: tuple[What, ...] = ("queries", "negatives", "graded")
WritingJob = QueriesJob | HardNegativesJob | GradedJob
USUAL_GRADED = 24
"""Pairs that get graded passages if neither the command nor the domain names a number."""


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

    Several kinds are written into folders of their names below ``output``.

    Args:
        spec: The domain.
        workspace: Folder with ``programs/``.
        runs: Folder of runs, stages and caches.
        output: Folder to write; it must not exist.
        options: The LLM and its ceiling, which holds for each kind.
        limit: Number of queries, or of pairs; None: the domain's, chosen as in the loop.
        what: Kinds of :data:`WHAT`.

    Raises:
        ConfigError: ``output`` exists, a kind does not, or there is nothing to write for.
    """
    if unknown := [kind for kind in what if kind not in WHAT] or (["nothing"] if not what else []):
        raise ConfigError(f"--what {unknown[0]} cannot be written; use {', '.join(WHAT)}")
    target, spec = fresh_output(output), with_number_formats(spec)
    generator = LlmAccess(
        options=options.llm(spec, options.generator),
        cache=runs / CACHE / "llm",
        ledger=runs / CACHE / "synthesize.jsonl",
        usd=options.budget_usd,
    )
    counts: dict[str, dict[str, object]] = {}
    folders: dict[str, Path] = {}
    for kind in dict.fromkeys(what):
        job = JOBS[kind](spec, workspace, runs, generator, limit)
        # Each job has a ledger of its own, so that a ceiling counts what this job costs.
        ledger = runs / CACHE / f"{job.folder_name}.jsonl"
        job = replace(job, generator=replace(generator, ledger=ledger))
        before = spending(ledger)
        folders[kind] = build_job(job, runs)
        spent = spending(ledger)
        paid = {"usd": spent.usd - before.usd, "calls": spent.calls - before.calls}
        counts[kind] = {**_counts(folders[kind]), **paid}
    several = len(folders) > 1
    _copy(folders if several else {"": next(iter(folders.values()))}, target)
    return dict(counts) if several else next(iter(counts.values()))


def _counts(folder: Path) -> dict[str, object]:
    path = next(folder / name for name in ("pairs.json", "written.json") if (folder / name).is_file())
    counts = read_json(path)
    pairs = counts["pairs"] if isinstance(counts["pairs"], int) else len(counts["pairs"])
    copied = {"copied": counts["copied"]} if counts.get("copied") else {}
    return {"pairs": pairs, "asked": counts["asked"], "written": counts["written"], **counts["refused"], **copied}


def _copy(folders: Mapping[str, Path], output: Path) -> None:
    """Copy the files of stages to ``output``, atomically."""
    remove_partial(output.parent, output.name)
    with whole_folder(output) as partial:
        for name, folder in folders.items():
            shutil.copytree(folder, partial / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))


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
