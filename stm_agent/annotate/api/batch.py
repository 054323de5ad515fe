"""Jobs: a block drafted for many documents or entries, the LLM's grades of many pools, rankings and vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import Field
from typing_extensions import TypedDict

from stm_agent.annotate.api.common import Body, Names, The, Who
from stm_agent.annotate.api.matter import Retrievers
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.faults import Forbidden, Invalid
from stm_agent.annotate.jobs import Job, JobView
from stm_agent.annotate.services import batching, drafts, grading, judging, llms, projects, queries, ranking, searching

router = APIRouter(prefix="/projects/{project}/jobs", tags=["jobs"], route_class=BodyRoute)
MOST = 500
"""Documents or entries of one job, where they are not named."""


class Batch(Body):
    """A block to draft for each of some documents, empty: for the first ``limit`` of the project; or in ``entries``.

    Those are entries of one's own: their keys, or a state they are in. What has the block already is skipped. ``dry``
    asks how many ``calls`` of which ``model`` that is and how many are ``left`` to this person (null: no ceiling), and
    nothing is begun.
    """

    block: str
    documents: Names = []  # noqa: RUF012 - pydantic copies it
    entries: Names | Literal["draft", "done", "skipped", "flagged"] | None = None
    limit: int = Field(20, ge=1, le=MOST)
    dry: bool = False


class Grades(Body):
    """Pools to be graded, of all queries where none are named; ``depth`` passages of each run are in a pool.

    ``dry`` asks how many ``calls`` of which ``model`` that is, and nothing is begun.
    """

    queries: Names = []  # noqa: RUF012 - pydantic copies it
    llm: str = ""
    depth: int = Field(judging.DEPTH, ge=1, le=1000)
    dry: bool = False


class Encode(Body):
    """A model that is to encode all documents, so that they can be searched by it."""

    model: str


class GradePlan(TypedDict):
    """How many calls of which model a job would make."""

    calls: int
    model: str


class DraftPlan(GradePlan):
    """The same of drafts: how many calls are left to the person (None: no ceiling), and how much is skipped."""

    left: int | None
    skipped: int


@router.post("/drafts", status_code=202)
def draft_many(project: str, body: Batch, tool: The, who: Who, response: Response) -> JobView | DraftPlan:
    """Draft a block in many entries, for documents in new ones of one's own; the drafts wait to be decided on."""
    if body.entries is not None and body.documents:
        raise Invalid("name documents or entries, not both")
    with tool.database.reading() as session:
        # Nothing is asked, and paid, that could not be written down; here and before each call.
        row = projects.find(session, who, project, to_write=not body.dry)
        block = drafts.block_of(projects.read_schema(row.schema), body.block)
        if block.mode == "plain":
            raise Invalid(f"block '{block.name}' is filled in by people only")
        choice = llms.choose(session, tool.vault, block.llm)
        if body.entries is None:
            keys = body.documents or batching.first_documents(session, row, body.limit)
            places, skipped = batching.for_documents(session, who, row, block, keys)
        else:
            places, skipped = batching.for_entries(session, who, row, block, body.entries, limit=body.limit)
        left = tool.ceilings.left(session, who, row)
        if not body.dry:
            tool.ceilings.check(session, who, row, len(places), choice.model)
    if body.dry:
        response.status_code = 200
        return {"calls": len(places), "model": choice.model, "left": left, "skipped": skipped}
    batch = batching.Batch(tool.database, who, project, block.id, choice, tool.doors.door(choice), tool.ceilings)
    job = Job(project, who.name, "drafts", f"drafting {block.name}", len(places), skipped)
    return tool.jobs.start(job, places, batch.draft).told(who)


@router.post("/grades", status_code=202)
def grade_many(project: str, body: Grades, tool: The, who: Who, response: Response) -> JobView | GradePlan:
    """Ask an LLM for the grades of many pools; people see them after their own."""
    who.needs("admin")
    with tool.database.reading() as session:
        choice = llms.choose(session, tool.vault, body.llm)
        row = projects.find(session, who, project, to_write=not body.dry)
        schema = projects.read_schema(row.schema)
        keys = list(dict.fromkeys(queries.find(session, row, key).key for key in body.queries))
        calls = grading.count(session, row, keys, depth=body.depth)
        keys = keys or [one["key"] for one in queries.listed(session, row)]
    if body.dry:
        response.status_code = 200
        return {"calls": calls, "model": choice.model}
    door = tool.doors.door(choice)

    def one(item: tuple[str, grading.ToGrade], stopped: Callable[[], bool]) -> None:
        key, passage = item
        with tool.database.reading() as session:
            projects.find(session, who, project, to_write=True)
        given = grading.ask_grade(door, passage, schema, stopped)
        with tool.database.writing() as session:
            row = projects.find(session, who, project)
            grading.keep_grades(session, row, queries.find(session, row, key), choice.model, [(passage, given)])
        if given.error:
            raise Invalid(f"{key}/{passage.document}: {given.error}")

    job = Job(project, who.name, "grades", "grading pools", calls)
    wanted = grading.in_turn(tool.database, who, project, keys, depth=body.depth)
    return tool.jobs.start(job, wanted, one).told(who)


@router.post("/rankings", status_code=202)
def rank_many(project: str, body: Retrievers, tool: The, who: Who) -> JobView:
    """Rank all queries by some retrievers, part by part; the result counts what of each run is stored.

    Stopped, or cut off by the end of the server, it leaves new rankings of some queries and what there was of the
    others. Who begins it again loses nothing that was encoded.
    """
    ranker = ranking.ranker(tool.database, tool.finder, tool.models, who, project, depth=body.depth)
    parts = ranker.parts(body.retrievers)
    job = Job(project, who.name, "rankings", "ranking the queries", sum(part.size for part in parts))
    worker = ranking.Worker(tool.models, ranker.store)
    return tool.jobs.start(job, parts, worker.do, size=lambda part: part.size).told(who)


@router.post("/encodings", status_code=202)
def encode_all(project: str, body: Encode, tool: The, who: Who) -> JobView:
    """Let a model encode the documents, so that a search by it can begin; what it has encoded takes no time."""
    who.needs("reviewer")
    tool.models.source(body.model)
    with tool.database.reading() as session:
        corpus = searching.corpus_of(session, tool.finder, projects.find(session, who, project))
    parts = ranking.to_encode(body.model, corpus.texts.values())
    job = Job(project, who.name, "encodings", f"encoding by {body.model}", len(corpus.texts))
    return tool.jobs.start(job, parts, ranking.Worker(tool.models).do, size=lambda part: part.size).told(who)


@router.get("")
def running(project: str, tool: The, who: Who) -> list[JobView]:
    """Return the running jobs of a project."""
    with tool.database.reading() as session:
        projects.find(session, who, project)
    return [job.told(who) for job in tool.jobs.running(project)]


@router.get("/{job}")
def state(project: str, job: str, tool: The, who: Who) -> JobView:
    """Return how far a job is."""
    with tool.database.reading() as session:
        projects.find(session, who, project)
    return tool.jobs.get(project, job).told(who)


@router.delete("/{job}")
def stop(project: str, job: str, tool: The, who: Who) -> JobView:
    """Stop a job of one's own, an administrator anybody's; what it made stays."""
    with tool.database.reading() as session:
        projects.find(session, who, project)
    found = tool.jobs.get(project, job)
    if not found.may_stop(who):
        raise Forbidden(f"this job is {found.owner}'s; only they or an administrator can stop it")
    found.stopped = True
    return found.told(who)
