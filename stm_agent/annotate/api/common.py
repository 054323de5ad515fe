"""What all routers share: who asks, and what a request's body may hold."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Query, Request, UploadFile
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid, Unauthorised
from stm_agent.annotate.services import people, tokens
from stm_agent.annotate.storable import LARGEST, NOWHERE
from stm_agent.annotate.tool import Tool

API = "/api/v1"
SESSION = "session"
LONGEST_NAME = 255
"""Largest number of bytes of a file's name."""

Offset = Annotated[int, Query(ge=0, le=LARGEST)]
Limit = Annotated[int, Query(ge=1, le=LARGEST)]


Names = Annotated[list[str], Field(fail_fast=True)]
"""Names in a body. Only the first that is not text is reported: to report millions of them takes minutes."""


class Body(BaseModel):
    """A request's body; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid")


class Named(Body):
    """A name."""

    name: str


def cookie(request: Request, what: str) -> str:
    """Return the name of this tool's cookie; cookies know no ports, and two tools on one host are not to share one."""
    _, port = request.scope.get("server") or ("", None)
    return f"stm_agent_{what}_{port or 'local'}"


def tool_of(request: Request) -> Tool:
    """Return the running tool."""
    tool: Tool = request.app.state.tool
    return tool


def uploaded(file: UploadFile, folder: Path) -> Path:
    """Write an upload to a folder; return its path there.

    Raises:
        Invalid: No file can have its name.
    """
    name = Path(str(file.filename)).name
    if name in ("", *NOWHERE) or not name.isprintable() or len(name.encode(errors="replace")) > LONGEST_NAME:
        raise Invalid(f"no file can be stored under the name {name[:60]!r}; rename it")
    path = folder / name
    with path.open("wb") as stream:
        shutil.copyfileobj(file.file, stream)
    return path


def bearer_of(request: Request) -> str | None:
    """Return the bearer token of a request's header; None if it has none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and token else None


def token_of(request: Request) -> str:
    """Return the token of a request, from its header or from the page's cookie.

    Raises:
        Unauthorised: There is none.
    """
    if token := bearer_of(request) or request.cookies.get(cookie(request, SESSION)):
        return token
    raise Unauthorised("this needs a token; log in, or open the URL that the command printed")


def actor_of_token(tool: Tool, token: str) -> Actor:
    """Return whose token it is.

    Raises:
        Unauthorised: Nobody's.
    """
    if tool.token is not None:
        if not secrets.compare_digest(token.encode(), tool.token.encode()):
            raise Unauthorised("the token is not this tool's; open the URL that the command printed")
        return _alone(tool)
    with tool.database.reading() as session:
        if token.startswith(tokens.PREFIX):
            person = tokens.person_of(session, token)
            if person is None or not person.active:
                raise Unauthorised("this API token is unknown, revoked or expired; create another one")
            return people.actor_of(person)
        return people.who(session, token)


def _alone(tool: Tool) -> Actor:
    # Only the very first request writes: a reader waits for nobody.
    with tool.database.reading() as session:
        if (known := people.known_local(session)) is not None:
            return people.actor_of(known)
    with tool.database.writing() as session:
        return people.actor_of(people.local_person(session))


_bearer = HTTPBearer(
    auto_error=False, description="The token of the URL, a personal API token, or an access token of /login."
)


async def actor(request: Request, _token: Annotated[object, Depends(_bearer)] = None) -> Actor:
    """Return who sends a request, as it was found before the body was read."""
    found: Actor = request.state.actor
    return found


The = Annotated[Tool, Depends(tool_of)]
Who = Annotated[Actor, Depends(actor)]
