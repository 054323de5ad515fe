"""Jobs: a block drafted for many documents, and the LLM's grades of many pools."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from stm_agent.annotate import answers
from stm_agent.annotate.actor import Actor
from stm_agent.annotate.api.common import Body, The, Who
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.services import documents, drafts, entries, grading, judging, llms, projects, queries
from stm_agent.annotate.tool import Tool
from stm_agent.errors import StmAgentError

router = APIRouter(prefix="/projects/{project}/jobs", tags=["jobs"])


class Batch(Body):
    """A block to draft for each of some documents; empty: for the first ``limit`` of the project."""

    block: str
    documents: list[str] = []  # noqa: RUF012 - pydantic copies it
    limit: int = 20


class Grades(Body):
    """Pools to be graded, of all queries where none are named; ``depth`` passages of each run are in a pool."""

    queries: list[str] = []  # noqa: RUF012 - pydantic copies it
    llm: str = ""
    depth: int = Field(judging.DEPTH, ge=1, le=1000)


@router.post("/drafts", status_code=202)
def draft_many(project: str, body: Batch, tool: The, who: Who) -> dict[str, Any]:
    """Begin an entry of one's own for each document and draft a block in it; the drafts wait to be decided on."""
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        block = drafts.block_of(projects.read_schema(row.schema), body.block)
        if block.mode == "plain":
            raise Invalid(f"block '{block.name}' is written by people alone")
        choice = llms.choose(session, tool.vault, block.llm)
        keys = body.documents or [one["key"] for one in documents.page(session, row, limit=body.limit)["documents"]]
    door = tool.doors.door(choice)

    def one(key: str) -> None:
        _draft_one(tool, who, project, key, body.block, choice, door)

    return tool.jobs.start(project, f"drafting {block.name}", keys, one).told()


def _draft_one(
    tool: Tool,
    who: Actor,
    project: str,
    key: str,
    block_id: str,
    choice: llms.LlmChoice,
    door: Any,  # noqa: ANN401 - a Door, imported late
) -> None:
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        block = drafts.block_of(projects.read_schema(row.schema), block_id)
        ask = drafts.Ask(None, block, choice.model, drafts.chat_of(session, row, None, block, choice, key), 0)
    done, error = None, ""
    try:
        # No transaction is open while an LLM thinks.
        done = drafts.complete(door, ask)
        answers.fitted(block, done.text)
    except StmAgentError as fault:
        error = str(fault)
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        if not error:
            # Not before there is something in it: an LLM that is dead leaves no list of empty entries.
            entry = entries.create(session, who, row)
            entry.name, entry.extra = key, {"document": key}
            ask = replace(ask, entry_key=entry.key)
        drafts.keep(session, row, ask, done, error=error)
    if error:
        raise Invalid(f"{key}: {error}")


@router.post("/grades", status_code=202)
def grade_many(project: str, body: Grades, tool: The, who: Who) -> dict[str, Any]:
    """Ask an LLM for the grades of many pools; people see them after their own."""
    who.needs("admin")
    with tool.database.reading() as session:
        choice = llms.choose(session, tool.vault, body.llm)
        row = projects.find(session, who, project)
        schema = projects.read_schema(row.schema)
        keys = body.queries or [one["key"] for one in queries.listed(session, row)]
        asked = [(key, queries.find(session, row, key)) for key in keys]
        wanted = [(key, one) for key, query in asked for one in grading.to_grade(session, row, query, depth=body.depth)]
    door = tool.doors.door(choice)

    def one(item: tuple[str, grading.ToGrade]) -> None:
        key, passage = item
        given = grading.ask_grade(door, passage, schema)
        with tool.database.writing() as session:
            row = projects.find(session, who, project)
            grading.keep_grades(session, row, queries.find(session, row, key), choice.model, [(passage, given)])
        if given.error:
            raise Invalid(f"{key}/{passage.document}: {given.error}")

    return tool.jobs.start(project, "grading pools", wanted, one).told()


@router.get("")
def running(project: str, tool: The, who: Who) -> list[dict[str, Any]]:
    """Return the jobs of a project that go on."""
    with tool.database.reading() as session:
        projects.find(session, who, project)
    return [job.told() for job in tool.jobs.running(project)]


@router.get("/{job}")
def state(project: str, job: str, tool: The, who: Who) -> dict[str, Any]:
    """Return how far a job is."""
    with tool.database.reading() as session:
        projects.find(session, who, project)
    return tool.jobs.get(project, job).told()


@router.delete("/{job}")
def stop(project: str, job: str, tool: The, who: Who) -> dict[str, Any]:
    """Stop a job; what it made stays."""
    with tool.database.reading() as session:
        projects.find(session, who, project)
    found = tool.jobs.get(project, job)
    found.stopped = True
    return found.told()
