"""``stm-agent runs``: running, finished and interrupted runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit

app = typer.Typer(no_args_is_help=True)
RunName = Annotated[str, typer.Argument(help="A run's id, a unique start of it, 'last', or a path.")]
Place = Annotated[Path | None, typer.Option("--workspace", help="Folder with programs/ and prompts/ (default: here).")]


def folder_of(name: str, workspace: Path | None, *, finished: bool = False) -> Path:
    """Return the folder of a run."""
    from stm_agent.inspect.runs import find_run
    from stm_agent.workspace import find_workspace, runs_folder

    return find_run(runs_folder(find_workspace(workspace)), name, finished=finished)


@app.command("list")
def list_(workspace: Place = None, as_json: JsonFlag = False) -> None:
    """List the runs of the workspace with their states: running, finished, stopped or interrupted.

    Example: stm-agent runs list
    """
    from rich.table import Table

    from stm_agent.inspect.runs import list_runs
    from stm_agent.workspace import find_workspace, runs_folder

    rows = list_runs(runs_folder(find_workspace(workspace)))
    table = Table("run", "state", "merged test nDCG@10")
    for row in rows:
        mark = " (synthetic)" if row["synthetic"] else ""
        table.add_row(row["run"], row["state"], "" if row["ndcg_at_10"] is None else f"{row['ndcg_at_10']:.4f}{mark}")
    emit(rows, table if rows else "no runs yet; start one: stm-agent optimize --domain biomedical", as_json)


@app.command()
def show(
    run: RunName,
    state: Annotated[
        bool, typer.Option("--state", help="Print what the run has reached, where it fails, and what it tried.")
    ] = False,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Print a run's report, and how its inputs differ from those of the newest earlier run of the same domain.

    With --state, which works while a run is running, print its state instead: scores with intervals, slices of the
    search half of dev, what was tried and what it brought, and what is left of the budget.

    Example: stm-agent runs show last
    """
    if state:
        from stm_agent.loop.state_summary import read_summary, summary_text

        content = read_summary(folder_of(run, workspace))
        emit(content, summary_text(content), as_json)
        return
    from rich.console import Group

    from stm_agent.inspect.report import difference_lines, report_table
    from stm_agent.inspect.runs import changed_since, read_report

    folder = folder_of(run, workspace, finished=True)
    report, changed = read_report(folder), changed_since(folder)
    document = {**report, "changed_since": {"run": changed[0], "differences": changed[1]} if changed else None}
    emit(document, Group(report_table(report), *difference_lines(changed)), as_json)


@app.command()
def path(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Print the folder of a run.

    Example: stm-agent runs path last
    """
    folder = folder_of(run, workspace)
    emit({"path": str(folder)}, str(folder), as_json)


@app.command()
def stop(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Ask a running run to stop at its next safe point, with the best model so far exported.

    Example: stm-agent runs stop last
    """
    from stm_agent.errors import RunError
    from stm_agent.files import write_atomic
    from stm_agent.loop.runs import is_locked
    from stm_agent.loop.stopping import STOP_FILE

    folder = folder_of(run, workspace)
    if not is_locked(folder):
        raise RunError(f"run {folder.name} is not running; there is nothing to stop")
    write_atomic(folder / STOP_FILE, "")
    text = f"run {folder.name} stops at its next safe point; its command resumes it later"
    emit({"run": folder.name, "stopping": True}, text, as_json)
