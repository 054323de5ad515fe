"""``stm-agent traces``: how a candidate came to be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place, RunName, folder_of

app = typer.Typer(no_args_is_help=True)
Trial = Annotated[str, typer.Argument(help="Name of a trial, as 'traces list' shows it.")]


def _traces(run: str, workspace: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a path or None
    from stm_agent.inspect.traces import read_traces

    return read_traces(folder_of(run, workspace) / "traces.jsonl")


@app.command("list")
def list_(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """List a run's trials with their scores and what became of them.

    Example: stm-agent traces list last
    """
    from rich.table import Table

    rows = _traces(run, workspace)
    table = Table("trial", "from", "origin", "dev nDCG@10", "", "text")
    for row in rows:
        mean = "" if row["mean"] is None else f"{row['mean']:.4f}"
        table.add_row(
            row["trial"],
            row["parent"] or "",
            row["origin"],
            mean,
            "accepted" if row["accepted"] else "",
            row["text"] or "(none)",
        )
    emit(rows, table if rows else "this run has no trials yet", as_json)


@app.command()
def show(run: RunName, trial: Trial, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Show one trial: its text, the chat that made it, its best and worst queries.

    Example: stm-agent traces show last i0002
    """
    from stm_agent.inspect.traces import find_trace

    row = find_trace(_traces(run, workspace), trial)
    chat = "\n".join(f"[{message['role']}] {message['content']}" for message in row["messages"])
    ranked = sorted(row["per_query"].items(), key=lambda item: item[1])
    worst = "\n".join(f"  {value:.3f}  {query}" for query, value in ranked[:5])
    head = f"{row['trial']} ({row['origin']}, from {row['parent'] or 'nothing'}): {row['text'] or '(none)'}"
    parts = [head, f"dev nDCG@10: {row['mean']}", f"decision: {row['reason'] or 'not chosen'}"]
    parts += [f"chat:\n{chat}\n[answer] {row['answer']}"] if chat else []
    parts += [f"worst queries:\n{worst}"] if worst else []
    emit(row, _plain("\n\n".join(parts)), as_json)


@app.command()
def diff(run: RunName, trial: Trial, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Show the words a trial changed in its parent, and the queries it won and lost.

    Example: stm-agent traces diff last i0007
    """
    from stm_agent.inspect.traces import find_trace, word_diff

    rows = _traces(run, workspace)
    row = find_trace(rows, trial)
    parent = find_trace(rows, row["parent"]) if row["parent"] else rows[0]
    words = word_diff(parent["text"], row["text"])
    changes = {
        query: round(value - parent["per_query"].get(query, 0.0), 4)
        for query, value in row["per_query"].items()
        if abs(value - parent["per_query"].get(query, 0.0)) > 1e-9
    }
    won = sum(change > 0 for change in changes.values())
    text = " ".join(f"[{mark}{part}]" if mark != " " else part for mark, part in words)
    summary = f"{parent['trial']} -> {trial}: {text}\n{won} queries won, {len(changes) - won} lost"
    emit({"from": parent["trial"], "to": trial, "words": words, "changes": changes}, _plain(summary), as_json)


@app.command()
def tree(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Draw which trial was made from which, with scores and what became of them.

    Example: stm-agent traces tree last
    """
    from rich.tree import Tree

    from stm_agent.inspect.traces import children_of

    children = children_of(_traces(run, workspace))

    def label(row: dict[str, Any]) -> Any:  # noqa: ANN401 - a rich Text
        mean = "refused" if row["mean"] is None else f"{row['mean']:.4f}"
        return _plain(f"{row['trial']} {mean}{' accepted' if row['accepted'] else ''}  {row['text'] or '(none)'}")

    def grow(branch: Tree, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nested = []
        for row in rows:
            below = grow(branch.add(label(row)), children.get(row["trial"], []))
            nested.append({"trial": row["trial"], "mean": row["mean"], "accepted": row["accepted"], "children": below})
        return nested

    root = Tree(run)
    emit(grow(root, children.get(None, [])), root, as_json)


@app.command()
def export(
    run: RunName,
    trial: Trial,
    output: Annotated[Path | None, typer.Option(help="File to write (default: standard output).")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Plain text instead of OpenAI chat JSON.")] = False,
    workspace: Place = None,
) -> None:
    """Write the real chat behind a trial, and the instruction that came of it, for use elsewhere.

    Example: stm-agent traces export last i0007 --output prompt.json
    """
    import sys

    from stm_agent.errors import ConfigError
    from stm_agent.files import write_atomic
    from stm_agent.inspect.traces import exported, find_trace

    text = exported(find_trace(_traces(run, workspace), trial), plain=plain)
    if output is None:
        sys.stdout.write(text)
        return
    if output.exists():
        raise ConfigError(f"{output} exists; name a new file, nothing is overwritten")
    write_atomic(output.absolute(), text)


@app.command()
def path(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Print the file with a run's trials, one JSON line each.

    Example: stm-agent traces path last
    """
    file = folder_of(run, workspace) / "traces.jsonl"
    emit({"path": str(file)}, str(file), as_json)


def _plain(text: str) -> Any:  # noqa: ANN401 - a rich Text, built late
    from rich.text import Text

    return Text(text)
