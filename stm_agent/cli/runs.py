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
    """List the runs of the workspace: state (running, finished, stopped or interrupted), best nDCG@10, cost and age.

    The best nDCG@10 is on test if the run is finished; before that on dev, or on the half of it that levers choose on.

    Example: stm-agent runs list
    """
    import datetime

    from rich import box
    from rich.table import Table

    from stm_agent.inspect.runs import age, list_runs, shown_value
    from stm_agent.workspace import find_workspace, runs_folder

    rows = list_runs(runs_folder(find_workspace(workspace)))
    now = datetime.datetime.now(datetime.UTC)
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for name in ("run", "state", "best nDCG@10", "minutes", "USD", "age"):
        table.add_column(name, justify="left" if name in ("run", "state", "best nDCG@10") else "right")
    for row in rows:
        best = shown_value(row["value"], row["split"], synthetic=row["synthetic"])
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.1f}"
        table.add_row(row["run"], row["state"], best, minutes, f"{row['usd']:.4f}", age(row["began"], now))
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


@app.command()
def report(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Write report.html into a run's folder: one file that shows the whole run and loads nothing from the network.

    Every run writes it at its end; this command makes it again, also of a run that is running, stopped or interrupted.

    Example: stm-agent runs report last
    """
    from stm_agent.inspect.page.build import write_page

    path = write_page(folder_of(run, workspace))
    emit({"page": str(path), "bytes": path.stat().st_size}, f"{path} ({path.stat().st_size / 1e6:.1f} MB)", as_json)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more runs, each by its id or a unique start of it.")],
    page: Annotated[
        Path | None, typer.Option("--page", help="Also write the comparison as a page, with every query: FILE.html.")
    ] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare runs: scores with paired tests, queries that changed sides, what was configured differently, and cost.

    Example: stm-agent runs compare biomedical-2060a89a biomedical-77b1c0de --page both.html
    """
    from stm_agent.errors import ConfigError
    from stm_agent.files import write_atomic
    from stm_agent.inspect.compare import compare as compare_runs
    from stm_agent.inspect.compare import comparison_table, read_runs
    from stm_agent.inspect.page.together import comparison_page

    if page is not None and page.exists():
        raise ConfigError(f"{page} exists; name a new file, nothing is overwritten")
    records = read_runs([folder_of(name, workspace) for name in runs])
    content = compare_runs(records)
    if page is not None:
        write_atomic(page.absolute(), comparison_page(records, content))
    texts = next((record.answers["queries"] for record in records if record.answers), {})
    emit(content, comparison_table(content, texts), as_json)


@app.command()
def gc(
    vectors: Annotated[bool, typer.Option("--vectors", help="Also remove cached vectors.")] = False,
    stages: Annotated[bool, typer.Option("--stages", help="Also remove the stages that runs are made of.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how much would be freed, and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Free disk: stages that no run names, and what killed processes left. Says how much, and asks, before it removes.

    Runs, models, reports and the paid answers of LLMs stay.

    Example: stm-agent runs gc --dry-run
    """
    from stm_agent.errors import ConfigError
    from stm_agent.inspect.gc import KINDS, find_garbage, in_words, remove
    from stm_agent.workspace import find_workspace, runs_folder

    root = runs_folder(find_workspace(workspace))
    garbage = find_garbage(root, vectors=vectors, stages=stages)
    found = [{"kind": part.kind, "folders": len(part.paths), "bytes": part.size} for part in garbage]
    total = sum(part.size for part in garbage)
    lines = [f"{in_words(part.size):>10}  {part.kind} ({len(part.paths)}): {KINDS[part.kind]}" for part in garbage]
    if dry_run or not garbage:
        text = "\n".join([*lines, f"{in_words(total)} can be freed"]) if garbage else "there is nothing to remove"
        emit({"found": found, "freed": 0}, text, as_json)
        return
    if not yes:
        if as_json:
            raise ConfigError("runs gc --json removes nothing without being sure; add --yes, or --dry-run")
        emit(found, "\n".join(lines), as_json)
        typer.confirm(f"Remove {in_words(total)}?", abort=True)
    freed = remove(garbage, root)
    emit({"found": found, "freed": freed}, f"{in_words(freed)} freed", as_json)


@app.command()
def push(
    run: RunName,
    to: Annotated[str, typer.Option("--to", help="trackio, mlflow or wandb; each is an extra of the same name.")],
    project: Annotated[str, typer.Option(help="Project or experiment of the tracker.")] = "stm-agent",
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Push a run's search, costs, inputs and test scores to an experiment tracker; what it has is not pushed again.

    Example: stm-agent runs push last --to trackio
    """
    from stm_agent.inspect.page.record import read_record
    from stm_agent.inspect.push import open_tracker, pushed

    tracker = open_tracker(to)
    record = read_record(folder_of(run, workspace))
    content = pushed(record, project)
    new, total = tracker.push(content), len(content.points)
    text = "\n".join([*record.notices, f"{new} of {total} points pushed to {to}, project {project}, run {content.run}"])
    result = {"run": content.run, "tracker": to, "project": project, "pushed": new, "points": total}
    emit({**result, "notices": list(record.notices)}, text, as_json)
