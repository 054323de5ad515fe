"""The pages of a workspace's runs on loopback, live while a run works; it reads run folders and writes nothing.

As in the annotation tool of one person, the address that is printed holds a token, new at every start, which goes into
a cookie and out of the address bar. Requests under another host name are refused, so that no other site can ask by way
of the browser (DNS rebinding).
"""

from __future__ import annotations

import datetime
import html
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError, StmAgentError
from stm_agent.inspect.page.build import run_page
from stm_agent.inspect.page.record import read_record
from stm_agent.inspect.runs import age, find_run, list_runs, shown_value
from stm_agent.web.running import run_until_stopped

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

COOKIE = "stm-agent-ui"
HOSTS = ("127.0.0.1", "localhost", "[::1]")
REFRESH_SECONDS = 15
"""Seconds after which the list of runs, and the page of a running run, are loaded again."""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
SOURCES = ("run.json", "ledger.jsonl", "traces.jsonl", "llm.jsonl", "report.json")
"""Files that a page is made of; if none changed, the page is the same."""


@dataclass(frozen=True)
class Ui:
    """What is served.

    Attributes:
        runs: Folder of all runs.
        token: What the address must hold once.
    """

    runs: Path
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    _pages: dict[str, tuple[tuple[float, ...], bytes]] = field(default_factory=dict, repr=False)

    def page(self, name: str) -> tuple[bytes, str]:
        """Return the page of a run and its state; made again if the run has new lines.

        Raises:
            StmAgentError: The run does not exist, or cannot be read.
        """
        folder = find_run(self.runs, name)
        record = read_record(folder)
        stamp = tuple(_changed(folder / source) for source in SOURCES)
        stamp = (*stamp, float(record.state == "running"))
        if name not in self._pages or self._pages[name][0] != stamp:
            self._pages[name] = (stamp, run_page(record))
        return self._pages[name][1], record.state


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def build_app(ui: Ui) -> Starlette:
    """Return the application: the list of runs, and the page of each."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import PlainTextResponse, RedirectResponse, Response
    from starlette.routing import Route

    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.query_params.get("token")
        if (request.headers.get("host") or "").rpartition(":")[0] not in HOSTS:
            response: Response = PlainTextResponse("open the address that stm-agent ui printed", status_code=421)
        elif given is not None and _same(given, ui.token):
            response = RedirectResponse(request.url.path, status_code=303)
            response.set_cookie(COOKIE, ui.token, httponly=True, samesite="strict")
        elif not _same(request.cookies.get(COOKIE, ""), ui.token):
            response = PlainTextResponse(
                "open the address that stm-agent ui printed: it holds a token", status_code=403
            )
        else:
            response = await answer(request)
        response.headers.update(HEADERS)
        return response

    def runs(request: Request) -> Response:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(_index(ui), media_type="text/html", headers={**policy, "Refresh": str(REFRESH_SECONDS)})

    def run(request: Request) -> Response:
        try:
            page, state = ui.page(request.path_params["name"])
        except StmAgentError as error:
            return PlainTextResponse(str(error), status_code=404)
        live = {"Refresh": str(REFRESH_SECONDS)} if state == "running" else {}
        return Response(page, media_type="text/html", headers=live)

    routes = [Route("/", runs), Route("/runs/{name}", run)]
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)])


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _index(ui: Ui) -> str:
    """Return the list of runs, newest first; every text is escaped."""
    now = datetime.datetime.now(datetime.UTC)
    lines = []
    for row in reversed(list_runs(ui.runs)):
        name = html.escape(row["run"], quote=True)
        best = shown_value(row["value"], row["split"], synthetic=row["synthetic"])
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.1f}"
        cells = (row["state"], best, minutes, f"{row['usd']:.4f}", age(row["began"], now))
        rest = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><td><a href="/runs/{name}">{name}</a></td>{rest}</tr>')
    head = "".join(f"<th>{title}</th>" for title in ("run", "state", "best nDCG@10", "minutes", "USD", "age"))
    style = (
        ":root{color-scheme:light dark;font:14px/1.5 system-ui,sans-serif}body{max-width:70rem;margin:2rem auto;"
        "padding:0 1rem}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem .8rem .4rem 0;"
        "border-bottom:1px solid #8884}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Runs</title><style>{style}</style></head>'
        f"<body><main><h1>Runs</h1><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        "</main></body></html>"
    )


def serve(ui: Ui, port: int, *, tell: Callable[[str], None]) -> None:
    """Serve on loopback until Ctrl-C or SIGTERM; ``tell`` gets the address to open.

    Raises:
        ConfigError: The extra ``annotate`` is not installed, or the port is taken.
    """
    import socket

    try:
        import uvicorn

        app = build_app(ui)
    except ImportError as error:
        raise ConfigError(f"the pages need {error.name}; pip install 'stm-agent[annotate]'") from error
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port {port} cannot be used: {error.strerror}; name another one with --port") from error
        # Whoever reads the address may connect at once, before uvicorn has begun.
        listening.listen()
        tell(f"http://127.0.0.1:{listening.getsockname()[1]}/?token={ui.token}")
        # The token stands in the first request's line; no access log keeps it.
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        run_until_stopped(server, listening)
