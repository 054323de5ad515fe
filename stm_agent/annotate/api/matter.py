"""Search, drafts, runs and pools, agreement, hard-negative review, imports and exports."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from stm_agent.annotate import answers, doubting
from stm_agent.annotate.actor import Actor
from stm_agent.annotate.api.common import Body, The, Who
from stm_agent.annotate.services import (
    agreements,
    drafts,
    entries,
    grading,
    judging,
    llms,
    projects,
    queries,
    searching,
)
from stm_agent.annotate.tool import Tool
from stm_agent.errors import StmAgentError

if TYPE_CHECKING:
    from stm_agent.llm.door import Completion

router = APIRouter(prefix="/projects/{project}", tags=["matter"])


class AskDraft(Body):
    """Which block to draft, with which document open."""

    block: str
    document: str | None = None


class Decide(Body):
    """What became of a draft: ``accepted``, ``edited`` or ``rejected``, and the text that is kept."""

    decision: str
    final: str | None = None


class Retrievers(Body):
    """What ranks the queries: ``bm25``, runs' names, ``embedded:`` names."""

    retrievers: list[str]
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


@router.get("/search")
def search(
    project: str, q: str, tool: The, who: Who, k: int = 20, mode: str = "bm25", model: str = ""
) -> list[dict[str, Any]]:
    """Search the documents."""
    with tool.database.reading() as session:
        corpus = searching.corpus_of(session, tool.finder, projects.find(session, who, project))
    return searching.search(corpus, q, k=min(max(k, 1), 200), mode=mode, model=model, stock=tool.models)


@router.post("/entries/{entry}/drafts")
def draft(project: str, entry: str, body: AskDraft, tool: The, who: Who) -> StreamingResponse:
    """Draft a block; server-sent events ``piece``, then ``done`` with the draft, or ``problem``.

    The entry is not touched. A reader that goes away stops the LLM.
    """
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        found = entries.find(session, who, row, entry)
        block = drafts.block_of(projects.read_schema(row.schema), body.block)
        choice = llms.choose(session, tool.vault, block.llm)
        chat = drafts.chat_of(session, row, found, block, choice, body.document)
        rollout = drafts.next_rollout(session, entry, block.id)
    door = tool.doors.door(choice)
    ask = drafts.Ask(entry, block, choice.model, chat, rollout)
    return StreamingResponse(_pieces(tool, who, project, ask, door), media_type="text/event-stream")


async def _pieces(
    tool: Tool,
    who: Actor,
    project: str,
    ask: drafts.Ask,
    door: Any,  # noqa: ANN401 - a Door
) -> AsyncIterator[str]:
    """Yield the events of a draft; asynchronous, for only so a reader that goes away is noticed and the LLM stopped."""
    done, error, value = None, "", None
    stream = drafts.stream(door, ask)
    try:
        while done is None:
            piece, done = await run_in_threadpool(_step, stream)
            if piece is not None:
                yield _event("piece", {"text": piece})
        value = answers.fitted(ask.block, done.text)
    except StmAgentError as fault:
        error = str(fault)
    finally:
        stream.close()
    kept = await run_in_threadpool(_keep, tool, who, project, ask, done, error)
    yield _event("problem", {"title": error, "draft": kept}) if error else _event("done", {**kept, "value": value})


def _step(stream: Generator[str, None, Completion]) -> tuple[str | None, Completion | None]:
    """Return the next piece, or the whole answer."""
    try:
        return next(stream), None
    except StopIteration as end:
        return None, end.value


def _keep(tool: Tool, who: Actor, project: str, ask: drafts.Ask, done: Completion | None, error: str) -> dict[str, Any]:
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        return drafts.view(drafts.keep(session, row, ask, done, error=error))


def _event(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False, default=str)}\n\n"


@router.get("/drafts")
def all_drafts(project: str, tool: The, who: Who, entry: str | None = None) -> list[dict[str, Any]]:
    """Return drafts with their whole provenance."""
    with tool.database.reading() as session:
        return drafts.listed(session, who, projects.find(session, who, project), entry)


@router.put("/drafts/{key}")
def decide(project: str, key: str, body: Decide, tool: The, who: Who) -> dict[str, Any]:
    """Say what became of a draft."""
    with tool.database.writing() as session:
        return drafts.decide(session, who, projects.find(session, who, project), key, body.decision, body.final)


@router.get("/runs")
def runs(project: str, tool: The, who: Who) -> dict[str, Any]:
    """Return the stored runs with nDCG@10 and holes@k, and the models that could rank."""
    with tool.database.reading() as session:
        told = searching.runs_of(session, projects.find(session, who, project))
    return {"runs": told, "models": ["bm25", *searching.models(tool.runs), "embedded:all-minilm-l6-v2"]}


@router.post("/runs")
def rank(project: str, body: Retrievers, tool: The, who: Who) -> dict[str, Any]:
    """Rank all queries by some retrievers; their first passages are the pool to judge."""
    who.needs("admin")
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        corpus = searching.corpus_of(session, tool.finder, row)
        texts = {query["key"]: query["text"] for query in queries.listed(session, row)}
    found = {name: searching.rank_all(corpus, texts, name, k=body.depth, stock=tool.models) for name in body.retrievers}
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        return {name: searching.put_run(session, who, row, name, run) for name, run in found.items()}


@router.post("/queries/{query:path}/llm-grades")
def ask_grades(project: str, query: str, body: AskGrades, tool: The, who: Who) -> dict[str, int]:
    """Ask an LLM to grade a query's pool; people see its grade after their own."""
    who.needs("admin")
    with tool.database.reading() as session:
        choice = llms.choose(session, tool.vault, body.llm)
        row = projects.find(session, who, project)
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
) -> dict[str, Any] | Response:
    """Return how far people agree with each other and with the LLM; as ``csv`` the coefficients alone."""
    who.needs("reviewer")
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        given = agreements.grades_of(session, row)
    # Resampling takes a while; nobody who saves waits for it.
    told = agreements.report(given)
    if kind == "json":
        return told
    named = {"content-disposition": 'attachment; filename="agreement.csv"'}
    return Response(agreements.as_csv(told), media_type="text/csv", headers=named)


@router.get("/doubts")
def doubts(project: str, tool: The, who: Who) -> list[dict[str, Any]]:
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
def answer(project: str, key: str, body: Answer, tool: The, who: Who) -> dict[str, Any]:
    """Say what a negative is; the answers so far are where the loop reads them."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        told = doubting.view(doubting.answer(session, who, row, key, body.answer, version=body.version))
        doubting.send_back(session, row, tool.folder.parent)
        return told
