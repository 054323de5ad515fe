"""``stm-agent annotate``: the annotation tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stm_agent.cli import annotate_people
from stm_agent.cli.annotate_tool import SETUP, Project, Url, check_installed, opened, project_of
from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from stm_agent.annotate.tool import Tool

app = typer.Typer(invoke_without_command=True)
SplitName = Annotated[str | None, typer.Option("--split", help="Take the queries of this split of a BEIR folder only.")]


def _tell(url: str) -> None:
    _tell_line(f"open {url}\nCtrl-C stops it")


def _tell_line(text: str) -> None:
    import sys

    sys.stderr.write(f"{text}\n")


@app.callback()
def annotate(
    context: typer.Context,
    collection: Annotated[Path | None, typer.Option(help="A BEIR folder: a judging project on it.")] = None,
    split: SplitName = None,
    database: Url = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback asks for a login.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any that is free.", min=0, max=65535)] = 8321,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="File with a certificate chain (PEM): serve HTTPS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="File with its private key (PEM).")] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address of a reverse proxy whose forwarded addresses are believed; may be repeated."),
    ] = None,
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
    check_installed()
    from stm_agent.annotate.serve import Address, serve
    from stm_agent.web.address import is_loopback

    address = Address(host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, proxies=tuple(proxy or ()))
    address.check()
    tool = opened(workspace, database, team=team or not is_loopback(host))
    try:
        if collection is not None:
            _on_collection(tool, collection, split)
        if address.warning:
            _tell_line(address.warning)
        serve(tool, address, tell=_tell)
    finally:
        tool.close()


def _on_collection(tool: Tool, folder: Path, split: str | None) -> None:
    from sqlalchemy import select

    from stm_agent.annotate.bringing import pool_written
    from stm_agent.annotate.incoming import read_incoming
    from stm_agent.annotate.services import moving, people, projects
    from stm_agent.annotate.tables import Project as Row

    name = folder.resolve().name + (f" ({split})" if split else "")
    incoming = read_incoming(folder, split)
    with tool.database.writing() as session:
        if session.scalar(select(Row.id).where(Row.name == name)):
            return
        actor = people.actor_of(people.local_person(session))
        made = projects.create(session, actor, name=name, template="judging")
        report = moving.bring_in(session, actor, made, incoming)
        key = made.key
    pool_written(tool, actor, key, incoming)
    for reason, count in report.skipped.items():
        _tell_line(f"{count:,} skipped: {reason}")


@app.command("import")
def import_(
    project: Project,
    path: Annotated[
        Path,
        typer.Argument(
            help="Documents (.json, .jsonl, .csv, .tsv, folder, .zip), .qrels, .run, AIANO's file, archive, "
            "ir_datasets:NAME."
        ),
    ],
    name_of: Annotated[
        str | None, typer.Option("--as", help="Whose judgements qrels become (default: the local person's).")
    ] = None,
    split: SplitName = None,
    database: Url = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Import documents, a BEIR folder with its judgements, TREC's or AIANO's files, or an archive.

    Documents go into the project, which is made where there is none.

    Example: stm-agent annotate import signs documents.jsonl
    """
    from stm_agent.annotate.bringing import bring

    tool = opened(workspace, database)
    try:
        result = bring(tool, project, path, name_of=name_of, split=split)
    finally:
        tool.close()
    emit(result, "\n".join(f"{name:<10} {value}" for name, value in result.items()), as_json)


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
    tool = opened(workspace, database)
    from stm_agent.annotate.services import moving

    try:
        with tool.database.reading() as session:
            result = moving.export(session, project_of(session, project), kind, output)
    finally:
        tool.close()
    emit(result, "\n".join(f"{name:<10} {value}" for name, value in result.items()), as_json)


@app.command()
def stats(project: Project, database: Url = None, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Print a project's counts, each person's progress, runs with holes@k, and agreement.

    Example: stm-agent annotate stats signs
    """
    tool = opened(workspace, database)
    from stm_agent.annotate import agreeing
    from stm_agent.annotate.services import agreements, assigning, projects, runs

    try:
        with tool.database.reading() as session:
            row = project_of(session, project)
            shown = projects.view(session, row)
            people = agreements.grades_of(session, row).people
            result: dict[str, Any] = {
                **{name: shown[name] for name in ("name", "documents", "entries", "queries")},
                "judgements": sum(map(len, people.values())),
                "progress": assigning.progress(session, SETUP, row),
                "runs": runs.runs_of(session, row),
            }
        # Resampling takes a while; nobody who saves waits for it.
        result["agreement"] = agreeing.told(agreeing.agreement(people))
    finally:
        tool.close()
    lines = [f"{name:<11} {result[name]}" for name in ("name", "documents", "entries", "queries", "judgements")]
    lines += [
        f"{one['name']:<11} {annotate_people.work_of(one)}, {one['judgements']} grades" for one in result["progress"]
    ]
    lines += [f"{one['run']:<11} {_measures(one)}" for one in result["runs"]]
    lines += [
        f"{one['name']:<11} {_number(one['value'])} [{_number(one['low'])}, {_number(one['high'])}]"
        for one in result["agreement"]
    ]
    emit(result, "\n".join(lines), as_json)


def _measures(run: dict[str, Any]) -> str:
    splits = "".join(f", {split} {_number(value)}" for split, value in run["splits"].items())
    parts = [
        f"nDCG@10 {_number(run['ndcg_at_10'])}{splits}",
        f"with holes as the best grade {_number(run['ndcg_at_10_holes_best'])}",
        f"holes@10 {_number(run['holes']['10'])}",
    ]
    if run["unranked"]:
        ranked = _number(run["ndcg_at_10_ranked"])
        parts.append(f"{run['unranked']} of {run['scored_queries']} queries not ranked (without them {ranked})")
    return "; ".join(parts)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


for _command in (annotate_people.users, annotate_people.members, annotate_people.deal):
    app.command()(_command)
