"""The LLMs that blocks are drafted by and pools graded by."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from pydantic import Field

from stm_agent.annotate.api.common import Body, The, Who
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.services import llms

router = APIRouter(prefix="/llms", tags=["LLMs"], route_class=BodyRoute)


class LlmSetting(Body):
    """An LLM to set up; without a key the stored one stays; ``version`` is of the one that was seen, 0: a new one."""

    name: str
    model: str
    api_base: str | None = None
    key: str | None = Field(None, repr=False)
    system_prompt: str = ""
    default: bool = False
    version: int = 0


@router.get("")
def all_llms(tool: The, who: Who) -> list[llms.LlmView]:
    """Return the LLMs, never a key."""
    with tool.database.reading() as session:
        return llms.listed(session, who)


@router.put("")
def put_llm(body: LlmSetting, tool: The, who: Who) -> llms.LlmView:
    """Set an LLM up, or change it."""
    with tool.database.writing() as session:
        return llms.view(llms.put(session, who, tool.vault, body.model_dump()))


@router.post("/{name:key}/try")
async def try_llm(name: str, tool: The, who: Who) -> llms.LlmTrial:
    """Ask an LLM a short question, never from the cache; return its answer, how long it took and what it cost."""
    who.needs("admin")
    with tool.database.reading() as session:
        # A missing LLM is reported before any call.
        choice = llms.choose(session, tool.vault, name, tries=1)
    with tool.turns.turn(who):
        return await tool.turns.wait_for(partial(llms.tried, tool.doors.door(choice), choice))


@router.delete("/{name:key}", status_code=204)
def remove_llm(name: str, tool: The, who: Who) -> None:
    """Delete an LLM and its key."""
    with tool.database.writing() as session:
        llms.remove(session, who, name)
