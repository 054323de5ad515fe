"""Search, runs and pools, agreement, hard-negative review, imports and exports."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field
from typing_extensions import TypedDict

from stm_agent.annotate import doubting
from stm_agent.annotate.actor import Actor
from stm_agent.annotate.api.common import Body, Names, The, Who
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.services import (
    agreements,
    encoding,
    faceting,
    grading,
    judging,
    llms,
    projects,
    queries,
    ranking,
    runs,
    searching,
)
from stm_agent.annotate.tool import Tool

router = APIRouter(prefix="/projects/{project}", tags=["matter"], route_class=BodyRoute)
Hits = Annotated[int, Query(ge=1, le=searching.DEPTH)]


class Retrievers(Body):
    """What ranks the queries: ``bm25``, runs' names, ``embedded:`` names."""

    retrievers: Names
    depth: int = Field(50, ge=1, le=1000)


class AskGrades(Body):
    """Which LLM grades the pool (empty: the default one), and how deep."""

    llm: str = ""
    depth: int = Field(judging.DEPTH, ge=1, le=1000)


class Answer(Body):
    """What a doubtful negative is; None takes the answer back."""

    answer: str | None
    version: int


class BringIn(Body):
    """A run whose negatives are to be reviewed."""

    run: str
    most: int = Field(100, ge=1, le=100_000)


class Runs(TypedDict):
    """The stored runs, and the models that could rank."""

    runs: list[runs.RunView]
    models: list[str]


@router.get("/search")
def search(
    project: str, q: str, tool: The, who: Who, k: Hits = 20, mode: str = "bm25", model: str = ""
) -> list[searching.Hit]:
    """Search the documents."""
    with tool.database.reading() as session:
        corpus = searching.corpus_of(session, tool.finder, projects.find(session, who, project))
    return searching.search(corpus, q, k=k, mode=mode, model=model, stock=tool.models)


@router.get("/like/{document:key}")
def like(project: str, document: str, tool: The, who: Who, k: Hits = 20, model: str = "") -> list[searching.Hit]:
    """Return the documents most like one: by its words, or by a model."""
    with tool.database.reading() as session:
        corpus = searching.corpus_of(session, tool.finder, projects.find(session, who, project))
    return searching.like(corpus, document, k=k, model=model, stock=tool.models)


@router.get("/facets")
def facets(
    project: str,
    tool: The,
    who: Who,
    filters: Annotated[list[str] | None, Query(alias="filter")] = None,
    tag: str | None = None,
    q: str = "",
    mode: str = "bm25",
    model: str = "",
) -> list[faceting.Facet]:
    """Return the most frequent values of the documents' fields, and of their tags (``field`` null), counted.

    With ``q`` they are those of the first 1,000 documents that a search finds.
    """
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        if not q:
            return faceting.facets(session, row, filters=filters or (), tag=tag)
        corpus, schema = searching.corpus_of(session, tool.finder, row), projects.read_schema(row.schema)
    found = searching.search(corpus, q, k=searching.DEPTH, mode=mode, model=model, stock=tool.models)
    return faceting.of_found(schema, [corpus.fields[hit["key"]] for hit in found])


@router.get("/runs")
def all_runs(project: str, tool: The, who: Who) -> Runs:
    """Return the stored runs with nDCG@10 and holes@k, and the models that could rank."""
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        told = runs.runs_of(session, row, scored=judging.sighted(session, who, row))
    return {"runs": told, "models": ["bm25", *encoding.models(tool.runs), "embedded:all-minilm-l6-v2"]}


@router.post("/runs")
def rank(project: str, body: Retrievers, tool: The, who: Who) -> dict[str, dict[str, int]]:
    """Rank all queries by some retrievers, while one waits; their first passages are the pool to judge.

    Runs are stored part by part; what is cut off by an error or the end of the server is begun again by the same call.
    """
    ranker = ranking.ranker(tool.database, tool.finder, tool.models, who, project, depth=body.depth)
    worker = ranking.Worker(tool.models, ranker.store)
    told: dict[str, dict[str, int]] = {}
    for part in ranker.parts(body.retrievers):
        told |= worker.do(part)
    return told


@router.delete("/runs/{run:key}", status_code=204)
def remove_run(project: str, run: str, tool: The, who: Who) -> None:
    """Remove a run; grades of what it found stay."""
    runs.remove_run(tool.database, who, project, run)


@router.post("/queries/{query:key}/llm-grades")
async def ask_grades(project: str, query: str, body: AskGrades, tool: The, who: Who) -> dict[str, int]:
    """Ask an LLM to grade a query's pool; people see its grade after their own."""
    who.needs("admin")
    with tool.turns.turn(who):
        return await tool.turns.wait_for(partial(_grade, tool, who, project, query, body))


def _grade(tool: Tool, who: Actor, project: str, query: str, body: AskGrades) -> dict[str, int]:
    with tool.database.reading() as session:
        choice = llms.choose(session, tool.vault, body.llm)
        row = projects.find(session, who, project, to_write=True)
        schema = projects.read_schema(row.schema)
        wanted = grading.to_grade(session, row, queries.find(session, row, query), depth=body.depth)
    # No transaction is open while an LLM thinks.
    graded = [(one, grading.ask_grade(tool.doors.door(choice), one, schema)) for one in wanted]
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        return grading.keep_grades(session, row, queries.find(session, row, query), choice.model, graded)


@router.get("/agreement", response_model=None)
def agreement(
    project: str, tool: The, who: Who, kind: Annotated[Literal["json", "csv"], Query(alias="format")] = "json"
) -> agreements.AgreementReport | Response:
    """Return how far people agree with each other and with the LLM; as ``csv`` the coefficients alone."""
    who.needs("reviewer")
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        judging.check_sighted(session, who, row)
        given = agreements.grades_of(session, row)
    # Resampling takes a while; nobody who saves waits for it.
    told = agreements.report(given)
    if kind == "json":
        return told
    named = {"content-disposition": 'attachment; filename="agreement.csv"'}
    return Response(agreements.as_csv(told), media_type="text/csv", headers=named)


@router.get("/doubts")
def doubts(project: str, tool: The, who: Who) -> list[doubting.DoubtView]:
    """Return the negatives nobody has answered for, the most doubtful first."""
    with tool.database.reading() as session:
        return doubting.queue(session, projects.find(session, who, project))


@router.post("/doubts")
def bring_in(project: str, body: BringIn, tool: The, who: Who) -> dict[str, int]:
    """Queue a run's doubtful negatives."""
    who.needs("admin")
    rows = doubting.doubtful(tool.runs, body.run, most=body.most)
    with tool.database.writing() as session:
        return {"added": doubting.bring_in(session, who, projects.find(session, who, project), rows)}


@router.put("/doubts/{key}")
def answer(project: str, key: str, body: Answer, tool: The, who: Who) -> doubting.DoubtView:
    """Say what a negative is; the answers so far are where the loop reads them."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        told = doubting.view(doubting.answer(session, who, row, key, body.answer, version=body.version))
        doubting.send_back(session, row, tool.folder.parent)
        return told
