"""A block's draft as it is written, and what became of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from functools import partial

from anyio import CancelScope
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from stm_agent.annotate import answers
from stm_agent.annotate.actor import Actor
from stm_agent.annotate.api.common import Body, The, Who
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.services import drafts, entries, llms, projects
from stm_agent.annotate.services.ceilings import highest_usd
from stm_agent.annotate.services.hearing import Ask, Came, Hearing
from stm_agent.annotate.tool import Tool

router = APIRouter(prefix="/projects/{project}", tags=["drafts"], route_class=BodyRoute)


class AskDraft(Body):
    """Which block to draft, with which document open."""

    block: str
    document: str | None = None


class Decide(Body):
    """What became of a draft: ``accepted``, ``edited`` or ``rejected``, and the text that is kept."""

    decision: str
    final: str | None = None


class Events(StreamingResponse):
    """Server-sent events that hold something until they end, also where nobody reads the first of them."""

    def __init__(self, events: AsyncIterator[str], held: ExitStack) -> None:
        """Send ``events``, then let go of what is ``held``."""
        super().__init__(events, media_type="text/event-stream")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        with self._held:
            await super().__call__(scope, receive, send)


@router.post("/entries/{entry}/drafts")
async def draft(project: str, entry: str, body: AskDraft, tool: The, who: Who) -> StreamingResponse:
    """Draft a block; server-sent events ``piece``, then ``done`` with the draft, or ``problem``.

    The entry is not touched. A reader that goes away stops the LLM.
    """
    with ExitStack() as held:
        held.enter_context(tool.turns.turn(who))
        ask, hearing = await run_in_threadpool(_asked, tool, who, project, entry, body, held)
        return Events(_events(tool, who, project, ask, hearing), held.pop_all())


def _asked(tool: Tool, who: Actor, project: str, entry: str, body: AskDraft, held: ExitStack) -> tuple[Ask, Hearing]:
    with tool.database.reading() as session:
        row = projects.find(session, who, project, to_write=True)
        found = entries.find(session, who, row, entry)
        block = drafts.block_of(projects.read_schema(row.schema), body.block)
        choice = llms.choose(session, tool.vault, block.llm)
        chat = drafts.chat_of(session, row, found, block, choice, body.document)
        ask = Ask(entry, block, choice.model, chat, drafts.next_rollout(session, row, entry, block, chat))
        door = tool.doors.door(choice)
        highest = partial(highest_usd, door, chat, block.max_tokens)
        held.enter_context(tool.ceilings.call(session, who, row, choice.model, highest))
    return ask, ask.of(door)


async def _events(tool: Tool, who: Actor, project: str, ask: Ask, hearing: Hearing) -> AsyncIterator[str]:
    """Yield the events of a draft; asynchronous, for only so a reader that goes away is noticed and the LLM stopped."""
    try:
        while (piece := await tool.turns.wait_for(hearing.next)) is not None:
            if piece and (text := hearing.visible()):
                yield _event("piece", {"text": text})
    finally:
        # Who stopped it waits for nothing, yet what had come is kept.
        with CancelScope(shield=True):
            came = hearing.leave().fitting(ask.block)
            kept = await run_in_threadpool(_keep, tool, who, project, ask, came)
    if came.done is None or came.error:
        yield _event("problem", {"title": came.error, "draft": kept})
    else:
        yield _event("done", {**kept, "value": answers.fitted(ask.block, came.text)})


def _keep(tool: Tool, who: Actor, project: str, ask: Ask, came: Came) -> drafts.DraftView:
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        return drafts.view(drafts.keep(session, who, row, ask, came))


def _event(kind: str, data: Mapping[str, object]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False, default=str)}\n\n"


@router.get("/drafts")
def all_drafts(project: str, tool: The, who: Who, entry: str | None = None) -> list[drafts.ReadDraft]:
    """Return drafts with their whole provenance."""
    with tool.database.reading() as session:
        return drafts.listed(session, who, projects.find(session, who, project), entry)


@router.put("/drafts/{key}")
def decide(project: str, key: str, body: Decide, tool: The, who: Who) -> drafts.DraftView:
    """Say what became of a draft."""
    with tool.database.writing() as session:
        return drafts.decide(session, who, projects.find(session, who, project), key, body.decision, body.final)
