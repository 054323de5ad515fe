"""Serve the page, and keep its login in cookies that no script can read."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stm_agent.annotate.api.common import SESSION, The, actor_of_token, cookie
from stm_agent.annotate.api.forgery import csrf_token
from stm_agent.annotate.api.people import Join, Login, join, login
from stm_agent.annotate.faults import Unauthorised
from stm_agent.annotate.people_tables import SessionTokens
from stm_agent.annotate.services import people
from stm_agent.annotate.tool import Tool

STATIC = Path(__file__).parent / "static"
REFRESH = "refresh"
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
"""Nothing is loaded from elsewhere, and a script in a document would not run even if it were shown as one."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class _Guard:
    """Adds the headers; plain ASGI, since a wrapped response would not hear that its reader went away."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, guarded)


def mount_pages(app: FastAPI) -> None:
    """Add the page and its session to the application."""
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    app.add_middleware(_Guard)
    app.get("/", include_in_schema=False)(_index)
    app.get("/join", include_in_schema=False)(_page)
    app.get("/session", include_in_schema=False)(_mode)
    app.post("/session", include_in_schema=False)(_begin)
    app.post("/session/join", include_in_schema=False)(_join)
    app.post("/session/refresh", include_in_schema=False)(_refresh)
    app.delete("/session", include_in_schema=False)(_end)


def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


def _index(request: Request, tool: The, token: str | None = None) -> Response:
    """Return the page; the token of a tool for one person goes into the cookie and out of the address bar.

    In a team a link must not log anybody in: whoever sends one would choose the account that the reader works in.
    """
    if token is None:
        return _page()
    response = RedirectResponse("/", status_code=303)
    if tool.token is not None:
        actor_of_token(tool, token)
        _set(response, request, SESSION, token, "/")
    return response


def _mode(tool: The, request: Request) -> JSONResponse:
    """Return whether one person works here alone, without a login, and the token that proves the page's requests."""
    mode = {"alone": tool.token is not None, "csrf": csrf_token(request.cookies.get(cookie(request, SESSION)))}
    return JSONResponse(mode, headers={"Cache-Control": "no-store"})


def _begin(body: Login, tool: The, request: Request) -> JSONResponse:
    return _kept(request, login(body, tool, request))


def _join(body: Join, tool: The, request: Request) -> JSONResponse:
    return _kept(request, join(body, tool))


def _refresh(tool: The, request: Request) -> JSONResponse:
    token = request.cookies.get(cookie(request, REFRESH))
    if not token:
        raise Unauthorised("log in again")
    with tool.database.writing() as session:
        return _kept(request, people.refresh(session, token))


def _end(tool: The, request: Request) -> Response:
    response = Response(status_code=204)
    if kept := request.cookies.get(cookie(request, SESSION)):
        with tool.database.writing() as session:
            people.end(session, kept)
    response.delete_cookie(cookie(request, SESSION), path="/")
    response.delete_cookie(cookie(request, REFRESH), path="/session")
    return response


def _kept(request: Request, tokens: SessionTokens) -> JSONResponse:
    response = JSONResponse({"expires_in": tokens["expires_in"]})
    _set(response, request, SESSION, tokens["access_token"], "/")
    _set(response, request, REFRESH, tokens["refresh_token"], "/session")
    return response


def _set(response: Response, request: Request, what: str, value: str, path: str) -> None:
    # Strict: another site cannot make a browser send it, so no request can be forged.
    secure = request.url.scheme == "https"
    name = cookie(request, what)
    response.set_cookie(name, value, path=path, httponly=True, samesite="strict", secure=secure, max_age=14 * 86400)


def open_url(tool: Tool, host: str, port: int, scheme: str = "http") -> str:
    """Return the address to open: with the token where one person works alone."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - what to type, not where to listen
    return f"{scheme}://{shown}:{port}/" + (f"?token={tool.token}" if tool.token else "")
