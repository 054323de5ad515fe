"""``stm-agent optimize``: the closed loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from stm_agent.cli.live import run_observer
from stm_agent.cli.llm_flags import ApiBase, Generator, Parallel, PriceIn, PriceOut
from stm_agent.cli.output import JsonFlag, emit, page_writer, typed_command
from stm_agent.cli.threads import raising_threads, threads_chooser
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stm_agent.domain.spec import DomainSpec
    from stm_agent.loop.events import Observer
    from stm_agent.loop.options import Options, PolicyName


def optimize(
    domain: Annotated[str | None, typer.Option(help="Shipped name or path of a domain file.")] = None,
    collection: Annotated[Path | None, typer.Option(help="A BEIR folder to adapt to, without a domain file.")] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Documents without queries (file or folder): the generator writes synthetic ones."),
    ] = None,
    corpus_queries: Annotated[
        int, typer.Option(help="With --corpus: passages that a query is written for, at most.", min=1)
    ] = 500,
    start: Annotated[
        list[str] | None,
        typer.Option(help="Model to adapt; several race on dev; 'auto': those within reach of every machine."),
    ] = None,
    generator: Generator = "embedded:smollm2-135m",
    reflection: Annotated[
        str | None, typer.Option(help="LLM that reflects on instructions (default: the generator).")
    ] = None,
    api_base: ApiBase = None,
    rounds: Annotated[int | None, typer.Option(help="Passes through the levers (default: the domain's).")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of batches and searches (default: the domain's first).")
    ] = None,
    parallel: Parallel = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option(help="Seeds, such as 0 1 2, one run each: mean and spread, and the best model on dev."),
    ] = None,
    more_seeds: Annotated[
        list[int] | None, typer.Argument(hidden=True, metavar="[SEED]...", help="More of --seeds.")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="What decides what is next: stm, random, gain-per-cost, tpe or planner.")
    ] = "stm",
    planner_share: Annotated[
        float, typer.Option(help="Share of the decisions that policy planner asks its LLM for.")
    ] = 0.3,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many actions in a row that brought nothing (stm: never; else 6).")
    ] = None,
    target: Annotated[float | None, typer.Option(help="Stop at this nDCG@10 on the search half of dev.")] = None,
    budget_usd: Annotated[float | None, typer.Option(help="Hard ceiling on LLM money; none: no ceiling.")] = None,
    budget_calls: Annotated[int | None, typer.Option(help="Hard ceiling on LLM calls; retries count.", min=0)] = None,
    budget_minutes: Annotated[
        float | None,
        typer.Option(help="Minutes of all processes; no lever starts in the last tenth (a folder on a CPU: 30)."),
    ] = None,
    controls: Annotated[bool, typer.Option("--controls", help="Also train all sources in one adapter.")] = False,
    run_id: Annotated[str | None, typer.Option(help="Name of the run folder (default: from all inputs).")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new run; finished stages are still used.")] = False,
    workspace: Annotated[Path | None, typer.Option(help="Folder with programs/ and prompts/ (default: here).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Adapt a decoder LLM or an encoder to a domain, end to end; the same command resumes.

    A raised budget continues the run too; of a folder, more minutes plan another, longer run.

    A lever that fails costs that lever: the run continues and exports the best model it has. Ctrl-C, SIGTERM and
    "stm-agent runs stop" end at a safe point with the best model exported; a second Ctrl-C ends at once.

    With --json, events are written to standard error while the run works, one JSON line each.

    Example: stm-agent optimize --domain biomedical
    """
    from stm_agent.domain.load import domain_of_collection, load_domain
    from stm_agent.loop.options import Options
    from stm_agent.train.processes import one_process
    from stm_agent.workspace import find_workspace, runs_folder

    if sum(given is not None for given in (domain, collection, corpus)) != 1:
        raise ConfigError(
            "name what to adapt to: --domain NAME (see 'stm-agent domains list'), --collection DIR, or --corpus PATH "
            "if there are no queries; one of them"
        )
    if (more_seeds and not seeds) or (seeds and seed is not None):
        raise ConfigError("give one --seed N, or several with --seeds N N N")
    one_process()
    folder = find_workspace(workspace)
    options = Options(
        seed=seed,
        rounds=rounds,
        generator=generator,
        reflection=reflection,
        api_base=api_base,
        parallel=parallel,
        price_in=price_in,
        price_out=price_out,
        budget_usd=budget_usd,
        budget_minutes=budget_minutes,
        budget_calls=budget_calls,
        policy=cast("PolicyName", policy),
        planner_share=planner_share,
        patience=patience,
        target=target,
        starts=tuple(start or ()),
        controls=controls,
        run_id=run_id,
        fresh=fresh,
        command=typed_command(),
    )
    if corpus and dry_run:
        from stm_agent.loop.corpus_plan import plan_corpus, plan_steps

        _show_steps(plan_steps(plan_corpus(corpus, queries=corpus_queries, seed=seed or 0), options), as_json)
        return
    if dry_run:
        from stm_agent.loop.plan import check_collection, plan
        from stm_agent.loop.starting import with_starts

        spec = domain_of_collection(collection) if collection else load_domain(str(domain), folder)
        check_collection(spec, folder)
        _show_steps(plan(with_starts(spec, options.starts), folder, options), as_json)
        return
    # What is shown while a run works ends before its report is printed.
    with run_observer(as_json) as observer:
        if corpus:
            from stm_agent.loop.corpus import write_collection

            written = write_collection(
                corpus, options, queries=corpus_queries, workspace=folder, runs=runs_folder(folder), observer=observer
            )
            collection, options = written.folder, written.remaining(options)
        spec = domain_of_collection(collection) if collection else load_domain(str(domain), folder)
        data, table = _adapted(spec, options, (*(seeds or ()), *(more_seeds or ())), folder, observer)
    emit(data, table, as_json)


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


def _show_steps(steps: list[dict[str, str]], as_json: bool) -> None:
    emit(steps, "\n".join(f"{step['stage']:<12} {step['what']}" for step in steps), as_json)
