"""``stm-agent traces``: how each candidate came to be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place, RunName, folder_of

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from stm_agent.traces import Trial

app = typer.Typer(no_args_is_help=True)
SHOWN_CHANGES = 10
"""Changed queries that ``diff`` prints."""
TrialName = Annotated[str, typer.Argument(help="Name of a trial, as 'traces list' shows it.")]


class Branch(TypedDict):
    """A trial in the tree, with those that were made from it."""

    trial: str
    mean: float | None
    accepted: bool
    children: list[Branch]


def _traces(run: str, workspace: Path | None) -> list[Trial]:
    from stm_agent.traces import read_traces

    return read_traces(folder_of(run, workspace) / "traces.jsonl")


@app.command("list")
def list_(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """List a run's trials with their scores, their cost and the decision on each.

    "inner" is nDCG@10 on the search half of dev over the sub-corpus, "whole" the same over the whole corpus by mteb.

    Example: stm-agent traces list last
    """
    from rich import box
    from rich.table import Table

    rows = _traces(run, workspace)
    table = Table("trial", "from", "inner", "whole", "cost", "", box=box.SIMPLE, padding=(0, 1))
    table.add_column("origin and text", min_width=30)
    for row in rows:
        numbers = ["" if score is None else f"{score:.4f}" for score in (row["mean"], row["full"])]
        cost = [f"{row['tokens']} tok"] if row["tokens"] else []
        cost += [f"${row['usd']:.4f}"] if row["usd"] else []
        state = "accepted" if row["accepted"] else "refused" if row["reason"].startswith("refused") else ""
        described = f"{row['origin']}: {_line(row)}"
        described += f" | passages: {row['passage']}" if row["passage"] else ""
        spent = "\n".join([*cost, f"{row['seconds']:.1f} s"])
        table.add_row(row["trial"], row["parent"] or "", *numbers, spent, state, _plain(described))
    paged = [{**row, "page": _page(run, row["trial"], workspace)} for row in rows]
    emit(paged, table if rows else "this run has no trials yet", as_json)


@app.command()
def show(run: RunName, trial: TrialName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Show one trial: its text, the chat that produced it, its cost, and its worst queries with their first passages.

    Example: stm-agent traces show last i0002
    """
    from stm_agent.traces import find_trace

    row = find_trace(_traces(run, workspace), trial)
    queries, passages = _texts(run, workspace)
    chat = "\n".join(f"[{message['role']}] {message['content']}" for message in row["messages"])
    head = f"{row['trial']} ({row['origin']}, from {row['parent'] or 'nothing'}): {row['text'] or '(none)'}"
    scored = "not scored by itself" if row["mean"] is None else f"dev nDCG@10: {row['mean']:.4f} over the sub-corpus"
    scored += f" ({row['passages']:,} passages)" if row["passages"] else ""
    scored += "" if row["full"] is None else f", {row['full']:.4f} over the whole corpus by mteb"
    cost = f"cost: {row['tokens']} tokens, {row['usd']:.4f} USD, {row['seconds']:.2f} s"
    parts = [head, scored, cost, f"decision: {row['reason'] or 'not chosen'}"]
    parts += [f"chat:\n{chat}\n[answer] {row['answer']}"] if chat else []
    worst = sorted(row["per_query"], key=lambda query: row["per_query"][query])[:5]
    lines = [f"  {row['per_query'][query]:.3f}  {_found(query, row, queries, passages)}" for query in worst]
    parts += ["worst queries, and the passage each found first:"] if lines else []
    if page := _page(run, trial, workspace):
        lines.append(f"\npage: {page}")
    emit({**row, "page": page}, _plain("\n\n".join(parts) + "\n" + "\n".join(lines)), as_json)


@app.command()
def diff(
    run: RunName,
    trial: TrialName,
    against: Annotated[str | None, typer.Option(help="Another trial (default: its parent, else the first).")] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the words that a trial changed in its parent, and the queries it won and lost with their first passages.

    Example: stm-agent traces diff last i0007
    """
    from stm_agent.traces import changes, find_trace, word_diff

    rows = _traces(run, workspace)
    row = find_trace(rows, trial)
    other = against or row["parent"]
    parent = find_trace(rows, other) if other else rows[0]
    queries, passages = _texts(run, workspace)
    words, moved = word_diff(parent["text"], row["text"]), changes(row, parent)
    text = " ".join(f"[{mark}{part}]" if mark != " " else part for mark, part in words)
    won = sum(change > 0 for change in moved.values())
    lines = [f"{parent['trial']} -> {trial}: {text}", f"{won} queries won, {len(moved) - won} lost"]
    for query, change in list(moved.items())[:SHOWN_CHANGES]:
        lines += [f"\n  {change:+.3f}  {queries.get(query, query)}"]
        lines += [f"          {trace['trial']}: {_first(query, trace, passages)}" for trace in (parent, row)]
    if len(moved) > SHOWN_CHANGES:
        lines.append(f"\n  and {len(moved) - SHOWN_CHANGES} more; --json has all")
    data = {"from": parent["trial"], "to": trial, "words": words, "changes": moved}
    emit(data, _plain("\n".join(lines)), as_json)


@app.command()
def tree(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Draw the trials as a tree, each below its parent, with scores and decisions.

    Example: stm-agent traces tree last
    """
    from rich.tree import Tree

    from stm_agent.traces import children_of

    children = children_of(_traces(run, workspace))

    def label(row: Trial) -> Text:
        refused = "refused" if row["reason"].startswith("refused") else row["lever"]
        mean = refused if row["mean"] is None else f"{row['mean']:.4f}"
        return _plain(f"{row['trial']} {mean}{' accepted' if row['accepted'] else ''}  {_line(row)}")

    def grow(branch: Tree, rows: list[Trial]) -> list[Branch]:
        nested: list[Branch] = []
        for row in rows:
            below = grow(branch.add(label(row)), children.get(row["trial"], []))
            nested.append({"trial": row["trial"], "mean": row["mean"], "accepted": row["accepted"], "children": below})
        return nested

    root = Tree(run)
    emit(grow(root, children.get(None, [])), root, as_json)


@app.command()
def why(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Walk from the exported model back over merge, experts, sources, programs and prompts, with the reasons.

    Example: stm-agent traces why last
    """
    from stm_agent.inspect.why import reason_lines
    from stm_agent.inspect.why import why as reasons

    reason = reasons(folder_of(run, workspace, finished=True))
    emit(reason.to_json(), _plain("\n".join(reason_lines(reason))), as_json)


@app.command()
def export(
    run: RunName,
    trial: TrialName,
    output: Annotated[Path | None, typer.Option(help="File to write (default: standard output).")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Plain text instead of OpenAI chat JSON.")] = False,
    program: Annotated[
        bool, typer.Option("--program", help="The state of a DSPy program, for Module.load; needs --output NAME.json.")
    ] = False,
    workspace: Place = None,
) -> None:
    """Write a trial as chat messages, with the chat that produced it, for use elsewhere.

    Example: stm-agent traces export last i0007 --output prompt.json
    """
    import sys

    from stm_agent.errors import ConfigError
    from stm_agent.files import write_atomic
    from stm_agent.traces import exported, find_trace

    row = find_trace(_traces(run, workspace), trial)
    if output is not None and output.exists():
        raise ConfigError(f"{output} exists; name a new file, nothing is overwritten")
    if program:
        if output is None or output.suffix != ".json":
            raise ConfigError("a DSPy program is written to a JSON file; add --output NAME.json")
        from stm_agent.inspect.programs import save_program

        save_program(row, output.absolute())
        return
    queries, _ = _texts(run, workspace)
    text = exported(row, plain=plain, example=next(iter(queries.values()), "{query}"))
    if output is None:
        sys.stdout.write(text)
        return
    write_atomic(output.absolute(), text)


@app.command()
def path(run: RunName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Print the file with a run's trials, one JSON line each.

    Example: stm-agent traces path last
    """
    file = folder_of(run, workspace) / "traces.jsonl"
    emit({"path": str(file)}, str(file), as_json)


def _texts(run: str, workspace: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    from stm_agent.traces import read_texts

    return read_texts(folder_of(run, workspace) / "traces.jsonl")


def _page(run: str, trial: str, workspace: Path | None) -> str | None:
    """Return the address of a trial on the run's page; None: the page is not written yet."""
    page = folder_of(run, workspace).absolute() / "report.html"
    return f"{page.as_uri()}#trial={trial}" if page.is_file() else None


def _first(query: str, row: Trial, passages: dict[str, str]) -> str:
    first, *_ = row["top"].get(query) or ["nothing"]
    return passages.get(first, first)


def _found(query: str, row: Trial, queries: dict[str, str], passages: dict[str, str]) -> str:
    return f"{queries.get(query, query)}  ->  {_first(query, row, passages)}"


def _line(row: Trial) -> str:
    """Return the first line of a trial's text."""
    lines = row["text"].strip().splitlines() or ["(none)"]
    return f"{lines[0]} ..." if len(lines) > 1 else lines[0]


def _plain(text: str) -> Text:
    from rich.text import Text

    return Text(text)
