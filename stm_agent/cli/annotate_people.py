"""``stm-agent annotate users``, ``members`` and ``deal``: who is on the team, who is in a project, who judges what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from stm_agent.cli.annotate_tool import SETUP, Project, Url, opened, project_of
from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def users(
    add: Annotated[str | None, typer.Option(help="Name of somebody to add; the password is asked for.")] = None,
    password: Annotated[str | None, typer.Option(help="Name of somebody to give a new password.")] = None,
    change: Annotated[str | None, typer.Option(help="Name of somebody to give another --role.")] = None,
    shut_out: Annotated[str | None, typer.Option(help="Name of somebody to shut out; their logins end.")] = None,
    let_in: Annotated[str | None, typer.Option(help="Name of somebody to let in again.")] = None,
    role: Annotated[str, typer.Option(help="annotator, reviewer or admin.")] = "annotator",
    invite: Annotated[bool, typer.Option("--invite", help="Print the end of an invitation link.")] = False,
    project: Annotated[str | None, typer.Option(help="The project that the --invite lets in to.")] = None,
    database: Url = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """List the people of a team's tool, add one, change one, or make an invitation.

    Example: stm-agent annotate users --add Ada --role admin
    """
    if project is not None and not invite:
        raise ConfigError("--project says where an invitation leads; add --invite, or see annotate members --help")
    # Nobody who saves waits for what is typed here.
    asked = {name: _asked() for name in (add, password) if name is not None}
    with closing(opened(workspace, database)) as tool, tool.database.writing() as session:
        from stm_agent.annotate.services import inviting, people

        if add is not None:
            people.add(session, name=add, role=role, password=asked[add])
        if password is not None:
            people.set_password(session, password, asked[password])
        _change(session, change, role=role)
        _change(session, shut_out, active=False)
        _change(session, let_in, active=True)
        place = project_of(session, project) if project is not None else None
        link = f"/join#{inviting.invite(session, SETUP, role=role, project=place)}" if invite else None
        rows = people.listed(session, SETUP)
    lines = [f"{one['name']:<20} {one['role']:<10} {'' if one['active'] else 'shut out'}" for one in rows]
    emit({"people": rows, "invitation": link}, "\n".join([*lines, link or ""]).strip() or "nobody yet", as_json)


def _change(session: Session, name: str | None, *, role: str | None = None, active: bool | None = None) -> None:
    """Change what is given of a person, as they are now; without a name nobody is changed."""
    from stm_agent.annotate.services import people

    if name is not None:
        people.change(session, SETUP, name, version=people.named(session, name).version, role=role, active=active)


def members(
    project: Project,
    add: Annotated[list[str] | None, typer.Option(help="Name of somebody to let in; may be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Name of somebody to take out; may be repeated.")] = None,
    database: Url = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """List the people of a project, let some in, take some out; what they wrote stays.

    Example: stm-agent annotate members signs --add Bo --add Cy
    """
    with closing(opened(workspace, database)) as tool, tool.database.writing() as session:
        from stm_agent.annotate.services import assigning

        row = project_of(session, project)
        for name in add or ():
            assigning.add_member(session, SETUP, row, name)
        for name in remove or ():
            assigning.remove_member(session, SETUP, row, name)
        session.flush()
        rows = assigning.progress(session, SETUP, row)
    emit({"members": rows}, _lines(rows) or "nobody yet", as_json)


def deal(
    project: Project,
    documents: Annotated[bool, typer.Option("--documents", help="Deal documents to write about, not queries.")] = False,
    tag: Annotated[str | None, typer.Option(help="Only --documents with this tag.")] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="Only --documents like 'year>2000'; may be repeated.")
    ] = None,
    to: Annotated[list[str] | None, typer.Option(help="Only to this person; may be repeated.")] = None,
    each: Annotated[int | None, typer.Option(min=1, help="People for each (default: those who judge a query).")] = None,
    take_back: Annotated[bool, typer.Option("--take-back", help="Take back what nobody is done with.")] = False,
    database: Url = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Deal a project's queries, or documents, out, each to as many people as its overlap says, or take them back.

    Example: stm-agent annotate deal signs
    """
    if not documents and (filters or tag is not None):
        raise ConfigError("--tag and --filter choose documents; add --documents")
    with closing(opened(workspace, database)) as tool, tool.database.writing() as session:
        from stm_agent.annotate.services import assigning, dealing

        row = project_of(session, project)
        whom = dealing.To(to or (), each)
        if take_back and documents:
            result = {"taken": dealing.take_documents_back(session, SETUP, row, filters=filters or (), tag=tag)}
        elif take_back:
            result = {"taken": dealing.take_back(session, SETUP, row)}
        elif documents:
            result = asdict(dealing.deal_documents(session, SETUP, row, whom, filters=filters or (), tag=tag))
        else:
            result = asdict(dealing.deal(session, SETUP, row, whom))
        rows = assigning.progress(session, SETUP, row)
    first = "{taken} taken back" if take_back else "{dealt} dealt, of {of}"
    emit({**result, "members": rows}, f"{first.format(**result)}\n{_lines(rows)}", as_json)


def _lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "\n".join(f"{one['name']:<20} {work_of(one)}" for one in rows)


def work_of(one: Mapping[str, object]) -> str:
    """Return how far somebody is, documents only where some were dealt to them."""
    queries = f"{one['done']}/{one['given']} queries"
    if not one["documents_given"]:
        return queries
    return f"{queries}, {one['documents_done']}/{one['documents_given']} documents"


def _asked() -> str:
    return str(typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True))
