"""``stm-agent runs``: finished and interrupted runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit

app = typer.Typer(no_args_is_help=True)
RunName = Annotated[str, typer.Argument(help="A run's id, a unique start of it, 'last', or a path.")]
Place = Annotated[Path | None, typer.Option("--workspace", help="Folder with programs/ and prompts/ (default: here).")]


def folder_of(name: str, workspace: Path | None) -> Path:
    """Return the folder of a run."""
    from stm_agent.inspect.runs import find_run
    from stm_agent.workspace import find_workspace, runs_folder

    return find_run(runs_folder(find_workspace(workspace)), name)


@app.command("list")
def list_(workspace: Place = None, as_json: JsonFlag = False) -> None:
    """List the runs of the workspace.

    Example: stm-agent runs list
    """
    from rich.table import Table

    from stm_agent.inspect.runs import list_runs
    from stm_agent.workspace import find_workspace, runs_folder

    rows = list_runs(runs_folder(find_workspace(workspace)))
    table = Table("run", "state", "merged test nDCG@10")
    for row in rows:
        table.add_row(row["run"], row["state"], "" if row["ndcg_at_10"] is None else f"{row['ndcg_at_10']:.4f}")
    emit(rows, table if rows else "no runs yet; start one: stm-agent optimize --domain biomedical", as_json)


@app.command()
def show(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Print a finished run's report.

    Example: stm-agent runs show last
    """
    from stm_agent.errors import RunError
    from stm_agent.files import read_json
    from stm_agent.inspect.report import report_table

    folder = folder_of(run, workspace)
    if not (folder / "report.json").exists():
        raise RunError(f"run {folder.name} is not finished; run its optimize command again to go on")
    report = read_json(folder / "report.json")
    emit(report, report_table(report), as_json)


@app.command()
def path(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Print the folder of a run.

    Example: stm-agent runs path last
    """
    folder = folder_of(run, workspace)
    emit({"path": str(folder)}, str(folder), as_json)
