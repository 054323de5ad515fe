"""``stm-agent synthesize``: hard negatives written by an LLM, and the programs that write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stm_agent.cli.llm_flags import (
    DEFAULT,
    ApiBase,
    BudgetCalls,
    BudgetMinutes,
    BudgetUsd,
    Generator,
    Optimizer,
    Parallel,
    PriceIn,
    PriceOut,
    Proposals,
    Reflection,
    Structured,
    Winner,
)
from stm_agent.cli.output import JsonFlag, emit, screen_observer
from stm_agent.cli.runs import Place
from stm_agent.cli.synthesize_text import comparison_text, counts_text, search_text
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from stm_agent.domain.spec import DomainSpec
    from stm_agent.loop.options import Options
    from stm_agent.loop.program_options import ProgramOptions
    from stm_agent.loop.search_report import ProgramReport

app = typer.Typer(invoke_without_command=True)
Domain = Annotated[str | None, typer.Option(help="Shipped name or path of a domain file.")]
CollectionFolder = Annotated[Path | None, typer.Option(help="A BEIR folder, without a domain file.")]
Judge = Annotated[str | None, typer.Option(help="LLM that grades what is written (default: none).")]
Start = Annotated[str | None, typer.Option(help="Model that is trained to compare (default: the first one).")]
Seed = Annotated[int | None, typer.Option(help="Seed of all draws (default: the domain's first).")]
OwnText = Annotated[bool, typer.Option("--judge-own-text", help="Let the judge grade what it wrote itself.")]


def _spec(domain: str | None, collection: Path | None, workspace: Path) -> DomainSpec:
    from stm_agent.domain.load import domain_of_collection, load_domain

    if (domain is None) == (collection is None):
        raise ConfigError(
            "name the data: --domain NAME (see 'stm-agent domains list') or --collection DIR, one of them"
        )
    return domain_of_collection(collection) if collection else load_domain(str(domain), workspace)


@app.callback()
def synthesize(
    context: typer.Context,
    domain: Domain = None,
    collection: CollectionFolder = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write the dataset to; must not exist.")] = None,
    what: Annotated[
        list[str] | None,
        typer.Option(help="What is written: queries, negatives or graded; several times for several."),
    ] = None,
    generator: Generator = DEFAULT,
    api_base: ApiBase = None,
    structured: Structured = None,
    limit: Annotated[
        int | None, typer.Option(help="Number of queries, or of pairs written for (default: the domain's).", min=1)
    ] = None,
    parallel: Parallel = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    budget_usd: BudgetUsd = None,
    budget_calls: BudgetCalls = None,
    budget_minutes: BudgetMinutes = None,
    seed: Seed = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Write training text with an LLM, optimise the programs that write, compare LLMs.

    Without a command below it, it writes with the workspace's DSPy programs: hard negatives, or what --what names.

    Example: stm-agent synthesize --domain biomedical --what queries --output synthetic --limit 8
    """
    if context.invoked_subcommand is not None:
        if domain is not None or output is not None or collection is not None:
            raise ConfigError(f"give the options of 'synthesize {context.invoked_subcommand}' behind its name")
        return
    from stm_agent.loop.events import ObserverWatcher
    from stm_agent.loop.synthesize_single import synthesize_domain
    from stm_agent.progress import watched_by
    from stm_agent.workspace import find_workspace, runs_folder

    if (domain is None and collection is None) or output is None:
        raise ConfigError("name a domain and a folder to write to: --domain NAME --output DIR")
    folder = find_workspace(workspace)
    options = _llm(api_base, structured, parallel, price_in, price_out, generator, seed=seed)
    options = replace(options, budget_usd=budget_usd, budget_calls=budget_calls, budget_minutes=budget_minutes)
    spec, kinds = _spec(domain, collection, folder), tuple(what or ("negatives",))
    with watched_by(ObserverWatcher(screen_observer())):
        counts = synthesize_domain(spec, folder, runs_folder(folder), output, options, limit=limit, what=kinds)
    emit(counts, counts_text(counts), as_json)


@app.command()
def optimize(
    domain: Domain = None,
    collection: CollectionFolder = None,
    program: Annotated[str, typer.Option(help="Program in programs/ whose text is optimised.")] = "queries",
    output: Winner = None,
    generator: Generator = DEFAULT,
    reflection: Reflection = None,
    api_base: ApiBase = None,
    structured: Structured = None,
    start: Start = None,
    optimizer: Optimizer = "gepa",
    proposals: Proposals = 8,
    examples: Annotated[int, typer.Option(help="Passages, or pairs, that candidates are rated on.", min=2)] = 12,
    queries: Annotated[
        int, typer.Option(help="Passages, or pairs, that a candidate writes for, to be trained on.", min=2)
    ] = 48,
    finalists: Annotated[int, typer.Option(help="Candidates with a LoRA run.", min=1)] = 2,
    lora_steps: Annotated[int, typer.Option(help="Steps of a LoRA run.", min=2)] = 60,
    documents: Annotated[int, typer.Option(help="Passages that models are scored on.", min=1)] = 1000,
    judge: Judge = None,
    judge_own_text: OwnText = False,
    seed: Seed = None,
    parallel: Parallel = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    budget_usd: BudgetUsd = None,
    budget_calls: BudgetCalls = None,
    budget_minutes: BudgetMinutes = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Search a better text for a program that writes or judges; the same command resumes.

    Candidates are rated text by text, the best are probed, the best of these trained on, and the winner must pass
    the gate; a judge must be better on pairs that were held out. It becomes a new file, or nothing is written.

    Example: stm-agent synthesize optimize --domain biomedical --reflection openai/gpt-5-mini --budget-usd 2
    """
    from stm_agent.loop.program_options import ProgramOptions

    folder, spec = _workspace_and_spec(workspace, domain, collection)
    llm = _llm(api_base, structured, parallel, price_in, price_out, generator, seed=seed, start=start)
    llm = replace(llm, budget_usd=budget_usd, budget_calls=budget_calls, budget_minutes=budget_minutes)
    llm = replace(llm, reflection=reflection)
    options = ProgramOptions(llm=llm, program=program, optimizer=optimizer, judge=judge, own_text=judge_own_text)
    options = replace(options, proposals=proposals, examples=examples, queries=queries, documents=documents)
    options = replace(options, finalists=finalists, lora_steps=lora_steps)
    target = (output or folder / "programs" / f"{program.removesuffix('.py')}_optimised.py").absolute()
    report = _searched(spec, folder, options, target)
    emit(report, search_text(report), as_json)


def _searched(spec: DomainSpec, folder: Path, options: ProgramOptions, target: Path) -> ProgramReport:
    from stm_agent.loop.program_search import optimize_program
    from stm_agent.workspace import runs_folder

    runs, observer = runs_folder(folder), screen_observer()
    return optimize_program(spec, options, workspace=folder, runs=runs, target=target, observer=observer)


def _llm(
    api_base: str | None,
    structured: str | None,
    parallel: int | None,
    price_in: float | None,
    price_out: float | None,
    generator: str = DEFAULT,
    *,
    seed: int | None = None,
    start: str | None = None,
) -> Options:
    """Return the flags of all commands as options; a flag that a command lacks is as usual."""
    from stm_agent.loop.options import Options

    return Options(
        generator=generator,
        api_base=api_base,
        structured=structured,
        parallel=parallel,
        price_in=price_in,
        price_out=price_out,
        seed=seed,
        starts=(start,) if start else (),
    )


def _workspace_and_spec(workspace: Path | None, domain: str | None, collection: Path | None) -> tuple[Path, DomainSpec]:
    from stm_agent.workspace import find_workspace

    folder = find_workspace(workspace)
    return folder, _spec(domain, collection, folder)


@app.command()
def compare(
    generator: Annotated[list[str], typer.Option(help="LiteLLM name of an LLM that writes; name two or more.")],
    domain: Domain = None,
    collection: CollectionFolder = None,
    program: Annotated[str, typer.Option(help="Program in programs/ that all of them run.")] = "queries",
    api_base: ApiBase = None,
    structured: Structured = None,
    start: Annotated[str | None, typer.Option(help="Model that is probed (default: the domain's first).")] = None,
    passages: Annotated[int, typer.Option(help="Passages to write for, the same for all.", min=2)] = 48,
    documents: Annotated[int, typer.Option(help="Passages that probes are scored on.", min=1)] = 1000,
    judge: Judge = None,
    judge_own_text: OwnText = False,
    seed: Seed = None,
    parallel: Parallel = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    budget_usd: Annotated[float | None, typer.Option(help="Dollars of each generator.")] = None,
    budget_calls: Annotated[int | None, typer.Option(help="Calls of each generator.", min=1)] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Tokens of each, checked every 8 passages.", min=1)] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare LLMs that write queries, with an equal budget on the same passages and seeds.

    Each row has the share of usable texts, of texts that find their passage again, how different they are, how many
    of their mined negatives are relevant, what a probe gains by them, and cost and time, with 95 % intervals.

    Example: stm-agent synthesize compare --domain biomedical --generator openai/gpt-5-mini --generator ollama/qwen3
    """
    from stm_agent.loop.compare_generators import CompareOptions, compare_generators
    from stm_agent.workspace import runs_folder

    options = CompareOptions(
        llm=_llm(api_base, structured, parallel, price_in, price_out, seed=seed, start=start),
        generators=tuple(generator),
        program=program,
        passages=passages,
        documents=documents,
        usd=budget_usd,
        calls=budget_calls,
        tokens=budget_tokens,
        judge=judge,
        own_text=judge_own_text,
    )
    folder, spec = _workspace_and_spec(workspace, domain, collection)
    report = compare_generators(spec, options, workspace=folder, runs=runs_folder(folder), observer=screen_observer())
    emit(report, comparison_text(report), as_json)
