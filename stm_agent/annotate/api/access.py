"""Who sends a request, and whether they may, is decided before a byte of its body is read."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.api.common import API, actor_of_token, token_of, tool_of
from stm_agent.annotate.api.forgery import check_source
from stm_agent.annotate.api.problems import response_to
from stm_agent.errors import StmAgentError

OPEN = frozenset(f"{API}/{name}" for name in ("login", "refresh", "join", "logout", "templates", "openapi.json"))
"""Paths of the API that need no login, or check it themselves."""


class Access:
    """Refuses strangers and forged requests, and remembers who sends a request.

    It is plain ASGI: a middleware class would wrap the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if its sender is known or its path is open; else answer without reading its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            check_source(request)
            if needs_login(scope):
                request.state.actor = await run_in_threadpool(_actor, request)
        except (StmAgentError, DBAPIError) as error:
            await response_to(request, error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def needs_login(scope: Scope) -> bool:
    """Return whether a request must come from a person of the tool."""
    path = str(scope["path"])
    return path.startswith(f"{API}/") and path not in OPEN


def _actor(request: Request) -> Actor:
    return actor_of_token(tool_of(request), token_of(request))
