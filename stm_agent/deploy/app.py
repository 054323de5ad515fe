"""The application: embeddings in OpenAI's shape, models, search, thumbs, health, metrics, and the search page."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

import stm_agent
from stm_agent.deploy.batching import Closed, QueueFull
from stm_agent.deploy.counted import Counted
from stm_agent.deploy.guard import Guard
from stm_agent.deploy.service import Service
from stm_agent.deploy.wire import (
    BODY,
    TEXTS,
    Body,
    EmbeddingsRequest,
    JudgementRequest,
    Refused,
    SearchRequest,
    embeddings_body,
    error_body,
)
from stm_agent.errors import OutOfMemory, StmAgentError
from stm_agent.web.bodies import LimitedBodies

logger = logging.getLogger(__name__)
PAGE = Path(__file__).parent / "page"
JSON = "application/json"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
B = TypeVar("B", bound=Body)


def build_app(service: Service, *, key: str | None = None, hosts: tuple[str, ...] = ()) -> FastAPI:
    """Return the server of a service.

    Args:
        service: Models, corpus and counters.
        key: What clients must send; None: nothing.
        hosts: Names by which the server may be called; empty: any. On loopback they keep out pages of other sites
            whose name resolves to this machine.
    """
    app = FastAPI(title="stm-agent serve", version=stm_agent.__version__, docs_url=None, redoc_url=None)
    app.state.service = service
    app.get("/health")(_health)
    app.get("/metrics")(_metrics)
    app.get("/v1/models")(_models)
    app.post("/v1/embeddings")(_embeddings)
    if service.search is not None:
        app.post("/v1/search")(_search)
        app.post("/v1/judgements")(_judge)
        app.get("/", include_in_schema=False)(_page)
        app.mount("/static", StaticFiles(directory=PAGE), name="static")
    for kind in (Refused, ValidationError, HTTPException, StmAgentError, Exception):
        app.add_exception_handler(kind, _error)
    app.add_middleware(LimitedBodies, limit_of=lambda scope: (BODY, "; send it in parts"))
    app.add_middleware(Guard, key=key)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    # The last one stands in front: refused requests are counted too.
    app.add_middleware(Counted, metrics=service.metrics)
    return app


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _body(request: Request, kind: type[B]) -> B:
    return kind.model_validate_json(await request.body())


async def _embeddings(request: Request) -> Response:
    asked, service = await _body(request, EmbeddingsRequest), _service(request)
    model, encoded = await service.embed(asked, partial(_left, request))
    # Two thousand vectors as text take a while; other connections are served meanwhile.
    if len(encoded.vectors) > 64:
        return Response(await run_in_threadpool(embeddings_body, asked, model, encoded), media_type=JSON)
    return Response(embeddings_body(asked, model, encoded), media_type=JSON)


async def _left(request: Request) -> None:
    """Return when the client of a request has gone; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _search(request: Request) -> JSONResponse:
    asked = await _body(request, SearchRequest)
    return JSONResponse(await run_in_threadpool(_service(request).find, asked))


async def _judge(request: Request) -> JSONResponse:
    asked = await _body(request, JudgementRequest)
    return JSONResponse({"judgements": await run_in_threadpool(_service(request).judge, asked)})


async def _models(request: Request) -> JSONResponse:
    return JSONResponse(_service(request).models_body())


async def _health(request: Request) -> JSONResponse:
    health = _service(request).health()
    return JSONResponse(health, 200 if health["status"] == "ok" else 503)


async def _metrics(request: Request) -> Response:
    return Response(_service(request).render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _page() -> FileResponse:
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache", **PAGE_HEADERS})


async def _error(_request: Request, error: Exception) -> JSONResponse:
    """Answer every error in OpenAI's shape, with a message that names the fix."""
    refused = _refusal(error)
    body = error_body(refused.status, refused.message, refused.param, refused.code)
    return JSONResponse(body, refused.status, headers=refused.headers)


def _refusal(error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, ValidationError):
        return _invalid(error)
    if isinstance(error, QueueFull):
        return Refused(429, str(error), code="queue_full", headers={"retry-after": "1"})
    if isinstance(error, Closed | OutOfMemory):
        return Refused(503, str(error), code="unavailable", headers={"retry-after": "5"})
    if isinstance(error, HTTPException):
        titles = {404: "nothing exists at this address", 405: "this address does not support that method"}
        message = titles.get(error.status_code, str(error.detail))
        return Refused(error.status_code, message, code="http", headers=error.headers)
    if isinstance(error, StmAgentError):
        return Refused(500, str(error), code="failed")
    logger.error("a request failed", exc_info=error)
    return Refused(500, "the server made a mistake; its log says what happened", code="failed")


def _invalid(error: ValidationError) -> Refused:
    """Return the first fault of a body that does not have the shape of its request."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"][:1])
    if field == "input" and first["type"] == "too_long":
        return Refused(400, f"input has too many texts, {TEXTS} are allowed; send it in parts", param=field)
    if field == "input" and first["type"] == "list_type":
        return Refused(400, "input: send a text or a list of texts", param=field)
    return Refused(400, f"{field}: {first['msg']}" if field else str(first["msg"]), param=field or None)
