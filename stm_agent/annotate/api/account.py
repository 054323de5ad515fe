"""A person's own API tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import Field

from stm_agent.annotate.api.common import Body, The, Who, token_of
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.faults import Forbidden
from stm_agent.annotate.services import tokens
from stm_agent.annotate.storable import LARGEST
from stm_agent.annotate.tool import Tool

router = APIRouter(prefix="/me/tokens", tags=["people"], route_class=BodyRoute)


class NewToken(Body):
    """What a token is for, and after how many days it expires; null: never."""

    name: str
    days: int | None = Field(90, ge=1, le=tokens.LONGEST_DAYS)


@router.get("")
def own_tokens(tool: The, who: Who) -> list[tokens.TokenView]:
    """Return one's own API tokens, without what they are."""
    with tool.database.reading() as session:
        return tokens.listed(session, who)


@router.post("", status_code=201)
def new_token(body: NewToken, tool: The, who: Who, request: Request) -> tokens.MadeToken:
    """Make an API token; the answer holds it this one time."""
    _check(tool, request)
    with tool.database.writing() as session:
        return tokens.create(session, who, body.name, days=body.days)


@router.delete("/{number}", status_code=204)
def revoke_token(number: Annotated[int, Path(ge=1, le=LARGEST)], tool: The, who: Who, request: Request) -> None:
    """Revoke an API token of one's own."""
    _check(tool, request)
    with tool.database.writing() as session:
        tokens.revoke(session, who, number)


def _check(tool: Tool, request: Request) -> None:
    if tool.token is not None:
        raise Forbidden("a tool for one person has the token of its address; API tokens are for teams (--team)")
    tokens.check_logged_in(token_of(request))
