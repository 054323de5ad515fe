"""``stm-agent data``: the training data of a run, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place, folder_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stm_agent.inspect.data_filter import Filter
    from stm_agent.inspect.data_rows import AuditedNegative, Shown

app = typer.Typer(no_args_is_help=True)
Source = Annotated[
    str, typer.Argument(help="A run's id, a unique start of it, 'last', or a folder that 'synthesize' wrote.")
]
Kind = Annotated[
    str | None,
    typer.Option(help="Only queries, negatives, graded or mined rows, or rows with such a negative (bm25, ...)."),
]
Verdict = Annotated[
    str | None,
    typer.Option(help="Only accepted or refused rows, or those with a negative that an audit dropped, relabelled, ..."),
]
Output = Annotated[
    Path | None,
    typer.Option(help="New JSONL file for all rows that fit, with verdicts, grades and a teacher's scores."),
]
WIDTH = 70
"""Characters of a text in the table."""


@app.callback()
def _noun() -> None:
    """Keep the noun, of which there is one verb so far."""


@app.command()
def show(
    run: Source,
    source: Annotated[str | None, typer.Option(help="Only rows of this source of training pairs.")] = None,
    kind: Kind = None,
    model: Annotated[str | None, typer.Option(help="Only rows that this generator wrote.")] = None,
    program: Annotated[str | None, typer.Option(help="Only rows of this program: its name or hash.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only queries of this type.")] = None,
    verdict: Verdict = None,
    instruction: Annotated[str | None, typer.Option(help="Only rows with this text in the instruction.")] = None,
    contains: Annotated[str | None, typer.Option(help="Only rows with this text in the query or a passage.")] = None,
    program_trial: Annotated[str | None, typer.Option(help="Only rows of this trial of a program: p0001.")] = None,
    trial: Annotated[int | None, typer.Option(help="Only rows of this sample.", min=0)] = None,
    grade: Annotated[int | None, typer.Option(help="Only rows with a positive of this grade.", min=0, max=3)] = None,
    score: Annotated[str | None, typer.Option(help="Only rows with at least this score: NAME=LEAST.")] = None,
    row: Annotated[str | None, typer.Option(help="Show one row by its id, as training reads it.")] = None,
    limit: Annotated[int, typer.Option(help="Rows shown; 0: all.", min=0)] = 20,
    output: Output = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Browse what the generator wrote and the miner found, refused texts with their reason.

    Example: stm-agent data show last --kind queries --type question
    """
    from stm_agent.inspect.data import data_rows, find_row
    from stm_agent.inspect.data_filter import Filter, read_score

    folder = _folder(run, workspace)
    rows = data_rows(folder)
    if row is not None:
        _show_one(folder, find_row(rows, row), as_json)
        return
    wanted = Filter(
        source=source,
        kind=kind,
        model=model,
        program=program,
        type=type_,
        verdict=verdict,
        contains=contains,
        instruction=instruction,
        program_trial=program_trial,
        trial=trial,
        grade=grade,
        score=read_score(score) if score else None,
    )
    _show_rows(rows, wanted, limit, output, as_json)


def _show_rows(rows: list[Shown], wanted: Filter, limit: int, output: Path | None, as_json: bool) -> None:
    from stm_agent.inspect.data import save_shown

    wanted.require_known(rows)
    found = [entry for entry in rows if wanted.fits(entry)]
    if output is not None:
        save_shown(found, output)
        emit({"rows": len(found), "of": len(rows), "written": str(output)}, f"{len(found):,} rows: {output}", as_json)
        return
    shown = found[: limit or None]
    emit({"rows": len(found), "of": len(rows), "shown": shown}, _table(shown, len(found), len(rows)), as_json)


def _folder(run: str, workspace: Path | None) -> Path:
    from stm_agent.inspect.data import written_folders
    from stm_agent.synthesize.rows import ROWS

    wrote = (Path(run) / ROWS).is_file() or written_folders(Path(run))
    return Path(run) if wrote else folder_of(run, workspace)


def _table(shown: list[Shown], found: int, every: int) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if not every:
        return "this run has no written or mined rows"
    table = Table("id", "type", box=box.SIMPLE, padding=(0, 1))
    table.add_column("query and passage", min_width=40)
    for row in shown:
        passages = [entry["text"] for entry in (*row["negatives"], *row["positives"])]
        negatives = ", ".join(sorted({negative["kind"] for negative in row["negatives"]}))
        kind = row["type"] or negatives or row["stage"]
        lines = [
            _cut(row["query"]) or "(none)",
            f"  {'-' if row['negatives'] else '+'} {_cut(passages[0] if passages else '')}",
        ]
        lines += [f"  {row['verdict']}: {row['reason']}"] if row["reason"] else []
        table.add_row(Text(row["id"]), Text(kind), Text("\n".join(lines)))
    more = f"; {found - len(shown):,} not shown, see --limit" if found > len(shown) else ""
    return Group(table, Text(f"{found:,} of {every:,} rows{more}"))


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def _audit(negative: AuditedNegative) -> str:
    chance = f", relevant with probability {negative['chance']:.2f}" if "chance" in negative else ""
    grade = f", grade {negative['grade']} ({negative.get('reason', '')})" if "grade" in negative else ""
    return f"{negative['verdict']} by {negative.get('by', 'scores')}{chance}{grade}"


def _show_one(folder: Path, row: Shown, as_json: bool) -> None:
    from stm_agent.inspect.data import chat_of_row, training_example

    example, chat = training_example(row), chat_of_row(folder, row)
    lines = [f"{name}: {value}" for name, value in example.items()]
    hidden = ("query", "positives", "negatives")
    about = {name: value for name, value in row.items() if name not in hidden and value not in ("", {}, [], ())}
    violated = [negative["violates"] for negative in row["negatives"] if negative["violates"]]
    about |= {"violates": "; ".join(violated)} if violated else {}
    lines += ["", *(f"{name}: {value}" for name, value in about.items())]
    lines += [
        f"negative_{number} audited: {_audit(entry)}"
        for number, entry in enumerate(row["negatives"], 1)
        if "verdict" in entry
    ]
    passages = (("positive", row["positives"]), ("negative", row["negatives"]))
    lines += [
        f"{role}_{number} teacher's score: {entry['teacher']:.4f}"
        for role, entries in passages
        for number, entry in enumerate(entries, 1)
        if "teacher" in entry
    ]
    lines += ["", *(f"[{message['role']}] {message['content']}" for message in chat)] if chat else []
    emit({"example": example, "provenance": row, "chat": chat}, "\n".join(lines), as_json)
