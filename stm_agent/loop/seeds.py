"""Several seeds of one domain: a run each, mean and spread of their scores, and the best model on dev."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import TypedDict

from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.loop.events import Observer, silent
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.report_rows import Report


class SeedsRow(TypedDict):
    """Test nDCG@10 of one row of the reports over the seeds.

    Attributes:
        mean: Mean over the seeds.
        spread: Standard deviation over the seeds.
        lowest: The lowest.
        highest: The highest.
    """

    mean: float
    spread: float
    lowest: float
    highest: float


class SeedsReport(TypedDict):
    """What the runs of several seeds reached together.

    Attributes:
        runs: Seed -> run.
        rows: Rows that all reports have.
        best_seed: Seed of the model with the highest nDCG@10 on dev.
        best_run: Its run.
        model: Its exported folder.
    """

    runs: dict[int, str]
    rows: dict[str, SeedsRow]
    best_seed: int
    best_run: str
    model: str


def optimize_seeds(
    spec: DomainSpec,
    options: Options,
    seeds: Sequence[int],
    *,
    workspace: Path,
    runs: Path,
    observer: Observer = silent,
    before_work: Callable[[], None] = lambda: None,
    after_work: Callable[[Path], None] = lambda folder: None,
) -> SeedsReport:
    """Run the loop once for each seed; each run has the whole budget, and resumes like a run of one seed.

    Args:
        spec: The domain.
        options: The flags; their seed is not used.
        seeds: The seeds.
        workspace: Folder with ``programs/`` and ``prompts/``.
        runs: Folder that holds run folders, stages and caches.
        observer: Receives events.
        before_work: Called before the first run that is not finished.
        after_work: Called with the folder of each run, after its report or a known error.

    Raises:
        ConfigError: A seed is given twice, or all runs were asked to have one name.
        StopRequested: A stop was asked for; the same command resumes.
    """
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {' '.join(map(str, seeds))} has a seed twice; give each once")
    if options.run_id is not None and len(seeds) > 1:
        raise ConfigError("--run-id names one run and --seeds makes several; leave one of them out")
    reports: dict[int, Report] = {}
    for seed in seeds:
        observer({"kind": "note", "name": "seeds", "text": f"seed {seed}, {len(reports) + 1} of {len(seeds)}"})
        flags = replace(options, seed=seed)
        reports[seed] = optimize(
            spec,
            flags,
            workspace=workspace,
            runs=runs,
            observer=observer,
            before_work=before_work,
            after_work=after_work,
        )
    return summarize(reports)


def summarize(reports: dict[int, Report]) -> SeedsReport:
    """Return mean and spread of the rows of finished reports, and the best model on dev."""
    first, *others = reports.values()
    rows = {}
    for name in first["rows"]:
        if all(name in report["rows"] for report in others):
            scores = [report["rows"][name]["ndcg_at_10"] for report in reports.values()]
            spread = stdev(scores) if len(scores) > 1 else 0.0
            rows[name] = SeedsRow(mean=mean(scores), spread=spread, lowest=min(scores), highest=max(scores))
    best = max(reports, key=lambda seed: reports[seed]["dev"]["merged"])
    return SeedsReport(
        runs={seed: report["run"] for seed, report in reports.items()},
        rows=rows,
        best_seed=best,
        best_run=reports[best]["run"],
        model=reports[best]["model"],
    )
