"""Projects and their documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from stm_agent.annotate.api.common import Body, Named, Names, Offset, The, Who
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.incoming import Incoming
from stm_agent.annotate.report import ReportView
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import dealt, deleting, documents, moving, projects
from stm_agent.annotate.templates import TEMPLATES

router = APIRouter(tags=["projects"], route_class=BodyRoute)


class NewProject(Body):
    """A project to create; ``template`` is used if ``schema`` is missing."""

    name: str
    description: str = ""
    tags: Names = Field(default_factory=list)
    template: str | None = None
    model_schema: dict[str, object] | None = Field(None, alias="schema")


class Edit(Body):
    """Parts to change, and the version that was seen."""

    version: int
    changes: dict[str, object]


class Tags(Body):
    """Tags to add, and tags to take away."""

    add: Names = Field(default_factory=list)
    remove: Names = Field(default_factory=list)


class Finished(Body):
    """Whether one is done."""

    done: bool = True


class NewDocuments(Body):
    """Documents: a key and its fields each."""

    documents: Annotated[list[tuple[str, dict[str, object]]], Field(fail_fast=True)]


@router.get("/templates")
def templates() -> dict[str, ProjectSchema]:
    """Return what a project can start from."""
    return TEMPLATES


@router.get("/projects")
def listed(tool: The, who: Who, tag: str | None = None, archived: bool = False) -> list[projects.ProjectView]:
    """Return the projects one may see."""
    with tool.database.reading() as session:
        return projects.listed(session, who, tag=tag, archived=archived)


@router.post("/projects", status_code=201)
def create(body: NewProject, tool: The, who: Who) -> projects.ProjectView:
    """Make a project."""
    with tool.database.writing() as session:
        made = projects.create(
            session,
            who,
            name=body.name,
            description=body.description,
            tags=body.tags,
            template=body.template,
            schema=body.model_schema,
        )
        return projects.view(session, made)


@router.get("/projects/{project}")
def one(project: str, tool: The, who: Who) -> projects.ProjectView:
    """Return a project."""
    with tool.database.reading() as session:
        return projects.view(session, projects.find(session, who, project))


@router.patch("/projects/{project}")
def edit(project: str, body: Edit, tool: The, who: Who) -> projects.ProjectView:
    """Change any part of a project."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project, also_archived=True)
        return projects.view(session, projects.edit(session, who, row, body.changes, version=body.version))


@router.post("/projects/{project}/duplicate", status_code=201)
def duplicate(project: str, body: Named, tool: The, who: Who) -> projects.ProjectView:
    """Make a project with the same schema."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project, also_archived=True)
        return projects.view(session, projects.duplicate(session, who, row, body.name))


@router.delete("/projects/{project}", status_code=204)
def delete(project: str, confirm: str, tool: The, who: Who) -> None:
    """Delete a project; ``confirm`` is its name."""
    deleting.delete(tool.database, who, project, confirm=confirm)


@router.get("/projects/{project}/documents")
def page(
    project: str,
    tool: The,
    who: Who,
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=documents.LONGEST_PAGE)] = documents.PAGE,
    filters: Annotated[list[str] | None, Query(alias="filter")] = None,
    sort: str = "",
    tag: str | None = None,
    mine: bool = False,
) -> documents.DocumentPage:
    """Return a page of documents; ``mine``: of those that were dealt to oneself, open ones first."""
    of = who if mine else None
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        return documents.page(
            session, row, offset=offset, limit=limit, filters=filters or (), sort=sort, tag=tag, of=of
        )


@router.post("/projects/{project}/documents", status_code=201)
def add_documents(project: str, body: NewDocuments, tool: The, who: Who) -> ReportView:
    """Put documents in, as an import does: what does not fit is in the report, with its reason."""
    rows = [(f"document {number}", {**fields, "_id": key}) for number, (key, fields) in enumerate(body.documents, 1)]
    with tool.database.writing() as session:
        return moving.bring_in(session, who, projects.find(session, who, project), Incoming(rows)).told()


@router.get("/projects/{project}/documents/{document:key}")
def document(project: str, document: str, tool: The, who: Who) -> dealt.DealtDocument:
    """Return a document whole, and whether one is done with it; null: it was not dealt to oneself."""
    with tool.database.reading() as session:
        return dealt.view(session, who, documents.get(session, projects.find(session, who, project), document))


@router.put("/projects/{project}/documents/{document:key}/done", status_code=204)
def done(project: str, document: str, body: Finished, tool: The, who: Who) -> None:
    """Say that one is done with a document that was dealt to oneself, or open it again."""
    with tool.database.writing() as session:
        dealt.say_done(session, who, projects.find(session, who, project), document, yes=body.done)


@router.patch("/projects/{project}/tags/{document:key}")
def tag(project: str, document: str, body: Tags, tool: The, who: Who) -> documents.DocumentView:
    """Add tags to a document, take others away."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        return documents.view(documents.tag(session, who, row, document, add=body.add, remove=body.remove))


@router.delete("/projects/{project}/documents/{document:key}", status_code=204)
def remove(project: str, document: str, tool: The, who: Who) -> None:
    """Delete a document that nobody used."""
    with tool.database.writing() as session:
        documents.remove(session, who, projects.find(session, who, project), document)
