"""``stm-agent annotate``: the annotation tool."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from stm_agent.annotate.tool import Tool

app = typer.Typer(invoke_without_command=True)
Url = Annotated[str | None, typer.Option("--database", help="SQLAlchemy URL (default: SQLite in the workspace).")]
Project = Annotated[str, typer.Argument(help="A project's name or key.")]
NEEDED = ("sqlalchemy", "alembic", "fastapi", "uvicorn", "argon2", "cryptography", "krippendorff")


def _check_installed() -> None:
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise ConfigError("the annotation tool is an extra: python -m pip install 'stm-agent[annotate]'")


def _tell(url: str) -> None:
    _tell_line(f"open {url}\nCtrl-C stops it")


def _tell_line(text: str) -> None:
    import sys

    sys.stderr.write(f"{text}\n")


def _open(workspace: Path | None, database: str | None, *, team: bool = True) -> Tool:
    _check_installed()
    from stm_agent.annotate.tool import open_tool
    from stm_agent.workspace import find_workspace

    place = find_workspace(workspace)
    if workspace is None and not (Path.cwd() / "programs").is_dir():
        # The shipped copy is no place to keep work in.
        place = Path.cwd()
    return open_tool(place, url=database, team=team)


def _project(session: Any, name: str) -> Any:  # noqa: ANN401 - a row, imported late
    from sqlalchemy import select

    from stm_agent.annotate.bringing import find
    from stm_agent.annotate.tables import Project as Row

    row = find(session, name)
    if row is None:
        names = ", ".join(session.scalars(select(Row.name))) or "none yet"
        raise ConfigError(f"there is no project '{name}'; there are {names}")
    return row


@app.callback()
def annotate(
    context: typer.Context,
    collection: Annotated[Path | None, typer.Option(help="A BEIR folder: a judging project on it.")] = None,
    database: Url = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback asks for a login.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8321,
    team: Annotated[bool, typer.Option("--team", help="Ask for a login on loopback too.")] = False,
    workspace: Place = None,
) -> None:
    """Open the annotation tool: people write queries, answers and judgements, an LLM drafts.

    Example: stm-agent annotate --collection data/scifact
    """
    if context.invoked_subcommand is not None:
        return
    if collection is not None and not collection.is_dir():
        raise ConfigError(f"collection folder {collection} does not exist; name a folder in BEIR layout")
    _check_installed()
    from stm_agent.annotate.serve import is_loopback, serve

    tool = _open(workspace, database, team=team or not is_loopback(host))
    try:
        if collection is not None:
            _on_collection(tool, collection)
        serve(tool, host=host, port=port, tell=_tell)
    finally:
        tool.close()


def _on_collection(tool: Tool, folder: Path) -> None:
    from sqlalchemy import select

    from stm_agent.annotate.incoming import read_incoming
    from stm_agent.annotate.services import moving, people, projects
    from stm_agent.annotate.tables import Project as Row

    name = folder.resolve().name
    incoming = read_incoming(folder)
    with tool.database.writing() as session:
        if session.scalar(select(Row.id).where(Row.name == name)):
            return
        actor = people.actor_of(people.local_person(session))
        made = projects.create(session, actor, name=name, template="judging")
        report = moving.bring_in(session, actor, made, incoming)
    for reason, count in report.skipped.items():
        _tell_line(f"{count:,} skipped: {reason}")


@app.command("import")
def import_(
    project: Project,
    path: Annotated[
        Path,
        typer.Argument(help="Documents (.json, .jsonl, .csv, folder, .zip), .qrels, .run, AIANO's files, archive."),
    ],
    name_of: Annotated[
        str | None, typer.Option("--as", help="Whose judgements qrels become (default: the local person's).")
    ] = None,
    database: Url = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Import documents, a BEIR folder with its judgements, TREC's or AIANO's files, or an archive.

    Documents go into the project, which is made where there is none.

    Example: stm-agent annotate import signs documents.jsonl
    """
    from stm_agent.annotate.bringing import bring

    tool = _open(workspace, database)
    try:
        told = bring(tool, project, path, name_of=name_of)
    finally:
        tool.close()
    emit(told, "\n".join(f"{name:<10} {value}" for name, value in told.items()), as_json)


@app.command()
def export(
    project: Project,
    kind: Annotated[str, typer.Argument(help="qrels, beir, mteb, triplets, aiano, aiano-project, archive or drafts.")],
    output: Annotated[Path, typer.Option(help="File or folder to write; must not exist.")],
    database: Url = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Export a project; a beir folder goes straight into stm-agent optimize --collection.

    Example: stm-agent annotate export signs beir --output judged
    """
    tool = _open(workspace, database)
    from stm_agent.annotate.services import moving

    try:
        with tool.database.reading() as session:
            told = moving.export(session, _project(session, project), kind, output)
    finally:
        tool.close()
    emit(told, "\n".join(f"{name:<10} {value}" for name, value in told.items()), as_json)


@app.command()
def stats(project: Project, database: Url = None, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Print a project's counts, each person's progress, runs with holes@k, and agreement.

    Example: stm-agent annotate stats signs
    """
    tool = _open(workspace, database)
    from stm_agent.annotate import agreeing
    from stm_agent.annotate.actor import Actor
    from stm_agent.annotate.services import agreements, assigning, projects, searching

    try:
        with tool.database.reading() as session:
            row, reader = _project(session, project), Actor(0, "setup", "admin")
            shown = projects.view(session, row)
            people = agreements.grades_of(session, row).people
            told: dict[str, Any] = {
                **{name: shown[name] for name in ("name", "documents", "entries", "queries")},
                "judgements": sum(map(len, people.values())),
                "progress": assigning.progress(session, reader, row),
                "runs": searching.runs_of(session, row),
            }
        # Resampling takes a while; nobody who saves waits for it.
        told["agreement"] = agreeing.told(agreeing.agreement(people))
    finally:
        tool.close()
    lines = [f"{name:<11} {told[name]}" for name in ("name", "documents", "entries", "queries", "judgements")]
    lines += [
        f"{one['name']:<11} {one['done']}/{one['given']} queries, {one['judgements']} grades"
        for one in told["progress"]
    ]
    lines += [
        f"{one['run']:<11} nDCG@10 {_number(one['ndcg_at_10'])}, holes@10 {_number(one['holes']['10'])}"
        for one in told["runs"]
    ]
    lines += [
        f"{one['name']:<11} {_number(one['value'])} [{_number(one['low'])}, {_number(one['high'])}]"
        for one in told["agreement"]
    ]
    emit(told, "\n".join(lines), as_json)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@app.command()
def users(
    add: Annotated[str | None, typer.Option(help="Name of somebody to add; the password is asked for.")] = None,
    password: Annotated[str | None, typer.Option(help="Name of somebody to give a new password.")] = None,
    change: Annotated[str | None, typer.Option(help="Name of somebody to give another --role.")] = None,
    shut_out: Annotated[str | None, typer.Option(help="Name of somebody to shut out; their logins end.")] = None,
    let_in: Annotated[str | None, typer.Option(help="Name of somebody to let in again.")] = None,
    role: Annotated[str, typer.Option(help="annotator, reviewer or admin.")] = "annotator",
    invite: Annotated[bool, typer.Option("--invite", help="Print the end of an invitation link.")] = False,
    database: Url = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """List the people of a team's tool, add one, change one, or make an invitation.

    Example: stm-agent annotate users --add Ada --role admin
    """
    tool = _open(workspace, database)
    from stm_agent.annotate.actor import Actor
    from stm_agent.annotate.services import inviting, people

    setup = Actor(0, "setup", "admin")
    try:
        with tool.database.writing() as session:
            if add is not None:
                people.add(session, name=add, role=role, password=_asked())
            if password is not None:
                people.set_password(session, password, _asked())
            if change is not None:
                people.change(session, setup, change, role=role)
            for name, active in ((shut_out, False), (let_in, True)):
                if name is not None:
                    people.change(session, setup, name, active=active)
            link = f"/join#{inviting.invite(session, setup, role=role, project=None)}" if invite else None
            rows = people.listed(session, setup)
    finally:
        tool.close()
    lines = [f"{one['name']:<20} {one['role']:<10} {'' if one['active'] else 'shut out'}" for one in rows]
    emit({"people": rows, "invitation": link}, "\n".join([*lines, link or ""]).strip() or "nobody yet", as_json)


def _asked() -> str:
    return str(typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True))
