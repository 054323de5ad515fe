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
from stm_agent.evaluate.baselines import ReadyModel
from stm_agent.execute.inline import InlineExecutor
from stm_agent.execute.store import JobStore
from stm_agent.files import read_json, whole_folder
from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess, spending
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import CACHE, STAGES
from stm_agent.mine.job import MiningJob
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.jobs import HardNegativesJob
from stm_agent.workspace import program_path


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
    with whole_folder(output) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))


def mine_domain(spec: DomainSpec, workspace: Path, runs: Path, output: Path, limit: int) -> dict[str, int]:
    """Mine negatives for a domain's first pairs into ``output``; return counts of negatives and refusals."""
    target = fresh_output(output)
    job = _mining(spec, workspace, runs, limit, retrievers=spec.mine.retrievers)
    folder = build_job(job, runs)
    copy_result(folder, target)
    negatives = load_negatives(folder)
    return {"negatives": sum(map(len, negatives.values())), **read_json(folder / "counts.json")}


def synthesize_domain(
    spec: DomainSpec, workspace: Path, runs: Path, output: Path, options: Options, *, limit: int | None
) -> dict[str, float]:
    """Write hard negatives for a domain's pairs into ``output``; return counts and cost."""
    target = fresh_output(output)
    # The hardest mined negative is only needed to refuse texts that repeat it; BM25 needs no encoder.
    mining = _mining(spec, workspace, runs, limit or spec.synthesize.pairs, retrievers=("bm25",))
    job = HardNegativesJob(
        pairs=mining.pairs,
        mined=load_negatives(build_job(mining, runs)),
        task=spec.task,
        program=program_path(workspace, spec.synthesize.program),
        generator=LlmAccess(
            options=options.llm(spec, options.generator),
            cache=runs / CACHE / "llm",
            ledger=runs / CACHE / "synthesize.jsonl",
            usd=options.budget_usd,
        ),
        spec=spec.synthesize,
    )
    # Each job has a ledger of its own, so that a ceiling counts what this job costs.
    ledger = runs / CACHE / f"{job.folder_name}.jsonl"
    job = replace(job, generator=replace(job.generator, ledger=ledger))
    before = spending(ledger)
    folder = build_job(job, runs)
    copy_result(folder, target)
    counts, spent = read_json(folder / "written.json"), spending(ledger)
    paid = {"usd": spent.usd - before.usd, "calls": spent.calls - before.calls}
    return {"pairs": counts["asked"], "written": counts["written"], **paid, **counts["refused"]}


def _mining(spec: DomainSpec, workspace: Path, runs: Path, limit: int, *, retrievers: tuple[str, ...]) -> MiningJob:
    data, pairs = _first_pairs(spec, workspace, limit)
    encoder = spec.mine.encoder if "dense" in retrievers else None
    return MiningJob(
        pairs=pairs,
        pool=dict(sorted(data.pool.items())[: spec.mine.documents]),
        groups=data.groups,
        spec=spec.mine.model_copy(update={"retrievers": retrievers}),
        miner=ReadyModel(encoder) if encoder else None,
        cache=runs / CACHE / "vectors",
    )


def _first_pairs(spec: DomainSpec, workspace: Path, limit: int) -> tuple[DomainData, tuple[Pair, ...]]:
    data = build_domain_data(spec.collection, workspace)
    pairs = tuple(pair for source in data.sources.values() for pair in source)[:limit]
    if not pairs:
        raise ConfigError(f"domain {spec.name} has no training pairs; its collection needs a train split")
    return data, pairs
