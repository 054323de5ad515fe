"""``stm-agent optimize``: the closed loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from stm_agent.cli.live import run_observer
from stm_agent.cli.llm_flags import ApiBase, Generator, Parallel, PriceIn, PriceOut, Structured
from stm_agent.cli.optimize_run import DataArguments, planned_steps, run
from stm_agent.cli.output import JsonFlag, emit, show_steps, typed_command
from stm_agent.cli.preset import PresetArguments, optimize_preset
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from stm_agent.loop.options import PolicyName


def optimize(
    context: typer.Context,
    domain: Annotated[str | None, typer.Option(help="Shipped name or path of a domain file.")] = None,
    collection: Annotated[Path | None, typer.Option(help="A BEIR folder to adapt to, without a domain file.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A whole experiment: paper or strong, all of its models or one, such as paper/gemma-2b."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="With --preset: folder with models and data in the Hub's layout, DIR/owner/name."),
    ] = None,
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
    structured: Structured = None,
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
        typer.Option(
            help="Minutes of all processes, at most; no lever starts in the last tenth (a folder: 30 if not given)."
        ),
    ] = None,
    controls: Annotated[bool, typer.Option("--controls", help="Also train all sources in one adapter.")] = False,
    executor: Annotated[
        str, typer.Option(help="Where jobs run: inline, ray (a cluster of this machine) or ray://HOST:PORT.")
    ] = "inline",
    artefacts: Annotated[
        str | None,
        typer.Option(help="fsspec URL, such as s3://bucket/path, where machines exchange stages (default: runs/)."),
    ] = None,
    run_id: Annotated[str | None, typer.Option(help="Name of the run folder (default: from all inputs).")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new run; finished stages are still used.")] = False,
    workspace: Annotated[Path | None, typer.Option(help="Folder with programs/ and prompts/ (default: here).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    gpu_tflops: Annotated[
        float, typer.Option(help="With --preset --dry-run: 10^12 operations a second that a GPU sustains.", min=0.001)
    ] = 300.0,
    gpu_price: Annotated[
        float, typer.Option(help="With --preset --dry-run: US dollars of an hour of a GPU.", min=0)
    ] = 3.0,
    as_json: JsonFlag = False,
) -> None:
    """Adapt a decoder LLM or an encoder to a domain, end to end; the same command resumes.

    A raised budget continues the run too; of a folder, more minutes (default: 30) plan another, longer run.

    A lever that fails costs that lever: the run continues and exports the best model it has. Ctrl-C, SIGTERM and
    "stm-agent runs stop" end at a safe point with the best model exported; a second Ctrl-C ends at once.

    With --json, events are written to standard error while the run works, one JSON line each.

    Example: stm-agent optimize --domain biomedical
    """
    from stm_agent.loop.options import Options
    from stm_agent.train.processes import one_process
    from stm_agent.workspace import find_workspace

    data = DataArguments(domain=domain, collection=collection, corpus=corpus, corpus_queries=corpus_queries)
    data.check(preset, data_dir)
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
        structured=structured,
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
        executor=executor,
        artefacts=artefacts,
        command=typed_command(),
    )
    if preset is not None:
        if seeds:
            raise ConfigError(f"--preset {preset} and --seeds make too many runs at once; give one --seed a call")
        arguments = PresetArguments(
            name=preset, data_dir=data_dir, collection=collection, tflops=gpu_tflops, dollars=gpu_price
        )
        given = _is_given(context, "generator")
        with run_observer(as_json) as observer:
            finish = optimize_preset(arguments, options, folder, observer, generator_given=given, dry_run=dry_run)
        finish(as_json)
    elif dry_run:
        show_steps(planned_steps(data, options, folder), as_json)
    else:
        # What is shown while a run works ends before its report is printed.
        with run_observer(as_json) as observer:
            report, table = run(data, options, (*(seeds or ()), *(more_seeds or ())), folder, observer)
        emit(report, table, as_json)


def _is_given(context: typer.Context, flag: str) -> bool:
    source = context.get_parameter_source(flag)
    return source is not None and source.name != "DEFAULT"
