"""The people of a project, and what is dealt out to them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter
from pydantic import Field

from stm_agent.annotate.api.common import Body, Named, Names, The, Who
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.services import assigning, dealing, projects

router = APIRouter(prefix="/projects/{project}", tags=["team"], route_class=BodyRoute)


class Undeal(Body):
    """What is taken back; of the documents those that have the tag and fit every filter, where there are any."""

    what: Literal["queries", "documents"] = "queries"
    tag: str | None = None
    filters: Names = Field(default_factory=list)


class Deal(Undeal):
    """What is dealt out, and to whom: names of the project's people, none: everybody.

    ``each`` is how many each query or document is to have, where not as many as judge a query of the project.
    """

    people: Names = Field(default_factory=list)
    each: Annotated[int, Field(ge=1, le=1000)] | None = None


D = TypeVar("D", bound=Undeal)


@router.post("/members", status_code=204)
def add_member(project: str, body: Named, tool: The, who: Who) -> None:
    """Let somebody in."""
    with tool.database.writing() as session:
        assigning.add_member(session, who, projects.find(session, who, project), body.name)


@router.delete("/members/{name:key}", status_code=204)
def remove_member(project: str, name: str, tool: The, who: Who) -> None:
    """Take somebody out; what they wrote stays."""
    with tool.database.writing() as session:
        assigning.remove_member(session, who, projects.find(session, who, project), name)


@router.post("/deal")
def deal(project: str, tool: The, who: Who, body: Deal | None = None) -> dict[str, int]:
    """Deal the queries, or documents, out; return the shares that were given, and ``of`` how many there are."""
    asked = _sound(body or Deal())
    to = dealing.To(asked.people, asked.each)
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        if asked.what == "queries":
            return asdict(dealing.deal(session, who, row, to))
        return asdict(dealing.deal_documents(session, who, row, to, filters=asked.filters, tag=asked.tag))


@router.post("/undeal")
def undeal(project: str, tool: The, who: Who, body: Undeal | None = None) -> dict[str, int]:
    """Take the queries, or documents, back from those who are not done with them; what they wrote stays."""
    asked = _sound(body or Undeal())
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        if asked.what == "queries":
            return {"taken": dealing.take_back(session, who, row)}
        return {"taken": dealing.take_documents_back(session, who, row, filters=asked.filters, tag=asked.tag)}


def _sound(asked: D) -> D:
    if asked.what == "queries" and (asked.filters or asked.tag is not None):
        raise Invalid("a tag and filters choose documents; choose documents, or all queries without them")
    return asked


@router.get("/progress")
def progress(project: str, tool: The, who: Who) -> list[dict[str, str | int]]:
    """Return what each person has done."""
    with tool.database.reading() as session:
        return assigning.progress(session, who, projects.find(session, who, project))
