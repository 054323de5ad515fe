"""What ``stm-agent optimize`` adapts to without a preset: its plan, and its run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.cli.output import page_writer
from stm_agent.cli.threads import raising_threads, threads_chooser
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stm_agent.domain.spec import DomainSpec
    from stm_agent.loop.events import Observer
    from stm_agent.loop.options import Options


@dataclass(frozen=True, kw_only=True)
class DataArguments:
    """Flags that name what to adapt to.

    Attributes:
        domain: Name or path of a domain file.
        collection: A BEIR folder.
        corpus: Documents without queries.
        corpus_queries: Passages of them that a query is written for, at most.
    """

    domain: str | None
    collection: Path | None
    corpus: Path | None
    corpus_queries: int

    def check(self, preset: str | None, data_dir: Path | None) -> None:
        """Require one thing to adapt to; a preset has a collection of its own, which a BEIR folder may replace.

        Args:
            preset: The preset that is named.
            data_dir: Its folder with models and data.

        Raises:
            ConfigError: Nothing or several things are named, or a folder is given without a preset.
        """
        named = (self.domain, preset or self.collection, self.corpus)
        if sum(given is not None for given in named) != 1:
            raise ConfigError(
                "name what to adapt to: --domain NAME (see 'stm-agent domains list'), --collection DIR, --preset NAME, "
                "or --corpus PATH if there are no queries; one of them"
            )
        if data_dir is not None and preset is None:
            raise ConfigError("--data-dir goes with --preset; in a domain file, write data_dir under its kind: mteb")

    def spec(self, workspace: Path) -> DomainSpec:
        """Return the domain of a domain file, or of a BEIR folder."""
        from stm_agent.domain.load import domain_of_collection, load_domain

        return domain_of_collection(self.collection) if self.collection else load_domain(str(self.domain), workspace)


def planned_steps(data: DataArguments, options: Options, workspace: Path) -> list[dict[str, str]]:
    """Return the steps of a run; nothing is run, and no LLM is asked."""
    if data.corpus is not None:
        from stm_agent.loop.corpus_plan import plan_corpus, plan_steps

        return plan_steps(plan_corpus(data.corpus, queries=data.corpus_queries, seed=options.seed or 0), options)
    from stm_agent.loop.plan import check_collection, plan
    from stm_agent.loop.starting import with_starts

    spec = data.spec(workspace)
    dev = check_collection(spec, workspace)
    return plan(with_starts(spec, options.starts), workspace, options, dev=dev)


def run(
    data: DataArguments, options: Options, seeds: tuple[int, ...], workspace: Path, observer: Observer
) -> tuple[object, RenderableType]:
    """Have the queries written if there are none, then adapt; return the report and its table."""
    if data.corpus is not None:
        from stm_agent.loop.corpus import write_collection
        from stm_agent.workspace import runs_folder

        written = write_collection(
            data.corpus,
            options,
            queries=data.corpus_queries,
            workspace=workspace,
            runs=runs_folder(workspace),
            observer=observer,
        )
        data, options = replace(data, collection=written.folder), written.remaining(options)
    return _adapted(data.spec(workspace), options, seeds, workspace, observer)


def _adapted(
    spec: DomainSpec, options: Options, seeds: tuple[int, ...], workspace: Path, observer: Observer
) -> tuple[object, RenderableType]:
    """Run the loop, once or for each seed; return the report and its table."""
    from stm_agent.inspect.report import report_table, seeds_table
    from stm_agent.loop.optimize import optimize
    from stm_agent.loop.seeds import optimize_seeds
    from stm_agent.workspace import runs_folder

    choose, watched, write_page = threads_chooser(observer), raising_threads(observer), page_writer(observer)
    runs = runs_folder(workspace)
    if seeds:
        summary = optimize_seeds(
            spec,
            options,
            seeds,
            workspace=workspace,
            runs=runs,
            observer=watched,
            before_work=choose,
            after_work=write_page,
        )
        return summary, seeds_table(summary)
    report = optimize(
        spec, options, workspace=workspace, runs=runs, observer=watched, before_work=choose, after_work=write_page
    )
    return report, report_table(report)
