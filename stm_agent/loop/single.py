"""Single stages as commands: the same jobs as in the loop, so the same folders."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.execute.inline import InlineExecutor
from stm_agent.execute.store import JobStore
from stm_agent.files import read_json, remove_partial, whole_folder
from stm_agent.job import Job
from stm_agent.loop.data_jobs import drawn, first_miner, mined_pairs, mining_job
from stm_agent.loop.lengths import with_number_formats
from stm_agent.loop.prepare import CACHE, STAGES
from stm_agent.mine.reviewed import refused, without_refused
from stm_agent.mine.store import load_negatives
from stm_agent.train.job import Negatives


def fresh_output(output: Path) -> Path:
    """Return a path that may be written to.

    Raises:
        ConfigError: It exists.
    """
    if output.exists():
        raise ConfigError(f"{output} exists; name a new folder, nothing is overwritten")
    return output.absolute()


def build_job(job: Job, runs: Path) -> Path:
    """Return the folder of a job in the stages of ``runs``, built if necessary."""
    with memory_errors(f"running stage {job.kind}"):
        (folder,) = InlineExecutor(JobStore(runs / STAGES)).run([job])
    return folder


def copy_result(folder: Path, output: Path) -> None:
    """Copy the files of a stage to ``output``, atomically."""
    remove_partial(output.parent, output.name)
    with whole_folder(output) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))


def mine_domain(spec: DomainSpec, workspace: Path, runs: Path, output: Path, limit: int | None) -> dict[str, int]:
    """Mine negatives for a domain's pairs into ``output``; return counts of negatives and refusals.

    Args:
        spec: The domain.
        workspace: What relative paths in ``spec`` are relative to.
        runs: Folder of runs, stages and caches.
        output: Folder to write; it must not exist.
        limit: At most this many pairs; None: those that the loop mines for.

    Raises:
        ConfigError: ``output`` exists, or the domain has no training pairs.
    """
    target = fresh_output(output)
    spec, data = with_number_formats(spec), build_domain_data(spec.collection, workspace)
    job = mining_job(spec, data, pairs_to_mine(spec, data)[:limit], first_miner(spec), runs / CACHE / "vectors")
    folder = build_job(job, runs)
    copy_result(folder, target)
    negatives = load_negatives(folder)
    return {"negatives": sum(map(len, negatives.values())), **read_json(folder / "counts.json")}


def mined_for(spec: DomainSpec, workspace: Path, runs: Path, limit: int | None) -> tuple[tuple[Pair, ...], Negatives]:
    """Return pairs and their mined negatives, without those that reviewers refused."""
    data = build_domain_data(spec.collection, workspace)
    pairs, miner, cache = pairs_to_mine(spec, data), first_miner(spec), runs / CACHE / "vectors"
    job = mining_job(spec, data, pairs, miner, cache)
    if limit is not None:
        # For a look at a few pairs BM25 is enough: it needs no encoder.
        bm25 = spec.mine.model_copy(update={"retrievers": ("bm25",)})
        job = replace(job, pairs=drawn(pairs, limit), spec=bm25, miner=None)
    left, _ = without_refused(pairs, load_negatives(build_job(job, runs)), refused(workspace))
    return pairs, left


def pairs_to_mine(spec: DomainSpec, data: DomainData) -> tuple[Pair, ...]:
    """Return the pairs that the loop mines for; all of the domain's if no expert asks for negatives.

    Raises:
        ConfigError: The domain has no training pairs.
    """
    pairs = mined_pairs(spec, data) or tuple(pair for source in data.sources.values() for pair in source)
    if not pairs:
        raise ConfigError(f"domain {spec.name} has no training pairs; its collection needs a train split")
    return pairs
