"""``stm-agent loop``: what decides in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stm_agent.cli.llm_flags import (
    DEFAULT,
    ApiBase,
    BudgetCalls,
    BudgetMinutes,
    BudgetUsd,
    Optimizer,
    Parallel,
    PriceIn,
    PriceOut,
    Proposals,
    Winner,
)
from stm_agent.cli.output import JsonFlag, emit, screen_observer
from stm_agent.cli.runs import Place
from stm_agent.cli.synthesize_text import ending_lines

if TYPE_CHECKING:
    from stm_agent.loop.search_report import PlannerReport

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep the group, which has one command."""


@app.command("optimize-planner")
def optimize_planner(
    output: Winner = None,
    planner: Annotated[str, typer.Option(help="LLM that plans, as --reflection of the runs it is for.")] = DEFAULT,
    reflection: Annotated[str | None, typer.Option(help="LLM that rewrites (default: the one that plans).")] = None,
    api_base: ApiBase = None,
    optimizer: Optimizer = "gepa",
    proposals: Proposals = 8,
    examples: Annotated[int, typer.Option(help="Past decisions that candidates are rated on.", min=2)] = 16,
    held: Annotated[int, typer.Option(help="Past decisions of other runs that test the winner.", min=2)] = 24,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    parallel: Parallel = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    budget_usd: BudgetUsd = None,
    budget_calls: BudgetCalls = None,
    budget_minutes: BudgetMinutes = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Search a better text for programs/planner.py, by what past decisions brought; the same command resumes.

    Every decision in the ledgers of the workspace's runs is an example. An answer is rated by gain for its price as a
    share of the best on the menu. The winner must be better on decisions of runs that were held out.

    Example: stm-agent loop optimize-planner --planner openai/gpt-5-mini --budget-usd 1
    """
    from stm_agent.loop.options import Options
    from stm_agent.loop.planner_search import PlannerOptions
    from stm_agent.loop.planner_search import optimize_planner as search
    from stm_agent.workspace import find_workspace, runs_folder

    folder = find_workspace(workspace)
    llm = Options(
        generator=planner,
        reflection=reflection,
        api_base=api_base,
        seed=seed,
        parallel=parallel,
        price_in=price_in,
        price_out=price_out,
        budget_usd=budget_usd,
        budget_calls=budget_calls,
        budget_minutes=budget_minutes,
    )
    options = PlannerOptions(llm=llm, optimizer=optimizer, proposals=proposals, examples=examples, held=held)
    target = (output or folder / "programs" / "planner_optimised.py").absolute()
    report = search(options, workspace=folder, runs=runs_folder(folder), target=target, observer=screen_observer())
    emit(report, _text(report), as_json)


def _text(report: PlannerReport) -> str:
    decisions = report["decisions"]
    means = report["held_out"]["means"]
    lines = [f"{'trial':<8}{'rating':>8}"]
    lines += [f"{row['trial']:<8}{row['rating']:>8.3f}" for row in report["candidates"]]
    lines.append(f"rated on {decisions['rated']} past decisions, {decisions['held_out']} of other runs were held out")
    lines += [f"not usable: {number} {reason}" for reason, number in sorted(decisions["unused"].items())]
    if means is not None:
        lines.append(f"rating on those held out: {means[0]:.3f} before, {means[1]:.3f} after")
    return "\n".join([*lines, *ending_lines(report)])
