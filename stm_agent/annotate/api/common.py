"""What all routers share: who asks, in which project, and how an error looks (RFC 9457)."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import AnnotateError, Stale, Unauthorised
from stm_agent.annotate.services import people
from stm_agent.annotate.tool import Tool
from stm_agent.errors import StmAgentError

COOKIE = "stm_agent_session"


class Body(BaseModel):
    """A request's body; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid")


def tool_of(request: Request) -> Tool:
    """Return the running tool."""
    tool: Tool = request.app.state.tool
    return tool


def token_of(request: Request) -> str:
    """Return the bearer token of a request, from its header or from the page's cookie.

    Raises:
        Unauthorised: There is none.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token
    if kept := request.cookies.get(COOKIE):
        return kept
    raise Unauthorised("this needs a token; log in, or open the URL that the command printed")


def actor_of_token(tool: Tool, token: str) -> Actor:
    """Return whose token it is.

    Raises:
        Unauthorised: Nobody's.
    """
    if tool.token is not None:
        if not secrets.compare_digest(token.encode(), tool.token.encode()):
            raise Unauthorised("the token is not this tool's; open the URL that the command printed")
        with tool.database.writing() as session:
            return people.actor_of(people.local_person(session))
    with tool.database.reading() as session:
        return people.who(session, token)


def actor(request: Request) -> Actor:
    """Return who asks."""
    return actor_of_token(tool_of(request), token_of(request))


The = Annotated[Tool, Depends(tool_of)]
Who = Annotated[Actor, Depends(actor)]


def problem(status: int, title: str, **more: Any) -> JSONResponse:  # noqa: ANN401 - JSON
    """Return an error as problem+json."""
    body = {"type": "about:blank", "title": title, "status": status, **more}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


def tell_problems(app: FastAPI) -> None:
    """Answer every known error as problem+json, in the words a person can act on."""

    @app.exception_handler(StmAgentError)
    def known(_request: Request, error: StmAgentError) -> JSONResponse:
        more = {"current": error.current} if isinstance(error, Stale) else {}
        return problem(error.status if isinstance(error, AnnotateError) else 400, str(error), **more)

    @app.exception_handler(RequestValidationError)
    def unreadable(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
