"""``stm-agent deploy``: what putting a model into production costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stm_agent.cli.deploy_names import RunOrModel, product_of
from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place

if TYPE_CHECKING:
    from stm_agent.deploy.planning import Migration

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Make ``plan`` a command of its own name, although it is the only one."""


@app.command()
def plan(
    run: RunOrModel,
    corpus_size: Annotated[int, typer.Option(help="Passages to encode again.", min=1)],
    rate: Annotated[float | None, typer.Option(help="US dollars an hour of one machine.", min=0)] = None,
    texts_per_second: Annotated[
        float | None, typer.Option(help="Speed of one machine (default: as the run measured it).", min=0.001)
    ] = None,
    machines: Annotated[int, typer.Option(help="Machines that encode at the same time.", min=1)] = 1,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Print hours, dollars and disk of encoding a corpus again with a run's model, and whether the old index can stay.

    Example: stm-agent deploy plan last --corpus-size 2000000 --rate 0.4
    """
    from stm_agent.deploy.planning import plan_migration

    migration = plan_migration(
        product_of(run, workspace),
        corpus_size,
        dollars_per_hour=rate,
        texts_per_second=texts_per_second,
        machines=machines,
    )
    emit(migration.to_json(), "\n".join(_lines(migration)), as_json)


def _lines(migration: Migration) -> list[str]:
    dollars = "give --rate" if migration.dollars is None else f"{migration.dollars:,.2f} USD"
    gib = ", ".join(f"{size:,.2f} GiB in {name}" for name, size in migration.gib.items())
    lines = [
        f"passages  {migration.passages:,}",
        f"speed     {migration.texts_per_second:,.1f} passages a second ({migration.speed_from})",
        f"hours     {migration.hours:,.2f}",
        f"cost      {dollars}",
        f"disk      {gib}; an HNSW graph takes more",
    ]
    gain = "not measured" if migration.gain is None else f"{migration.gain:+.4f} nDCG@10 on dev"
    lines.append(f"worth     {gain}, compared with the start of the run")
    if migration.queries_alone:
        tokens = (
            f" from the first {migration.passage_tokens} tokens of each passage" if migration.passage_tokens else ""
        )
        lines.append(
            f"index     the old one can stay if the start made it{tokens}: only queries are encoded by other weights; "
            "serve the run and search the old vectors, at no cost of encoding"
        )
    else:
        lines.append("index     has to be written again: vectors of two models cannot be compared")
    return lines
