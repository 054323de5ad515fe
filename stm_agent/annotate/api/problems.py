"""How an error looks: problem+json (RFC 9457), whatever went wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, StatementError
from starlette.exceptions import HTTPException

from stm_agent.annotate.faults import (
    AnnotateError,
    EncodedShare,
    Forged,
    Stale,
    TooMany,
    Unencoded,
    Unplaced,
    UnplacedGrade,
)
from stm_agent.errors import StmAgentError

log = logging.getLogger(__name__)
KIND = "application/problem+json"


class Problem(BaseModel):
    """An error: ``title`` says what is wrong; a refused save has what is stored now in ``current``.

    Where levels that were used are taken away, ``unplaced`` says which grades a place is asked for; where a search
    waits for a model's vectors, ``unencoded`` says how many there are.
    """

    type: str = "about:blank"
    title: str
    status: int
    current: dict[str, object] | None = None
    unplaced: list[UnplacedGrade] | None = None
    unencoded: EncodedShare | None = None


ANSWERS: dict[int | str, dict[str, object]] = {
    status: {"model": Problem, "description": what}
    for status, what in (
        (401, "No token, a wrong or an expired one"),
        (403, "Not allowed"),
        (404, "It does not exist, or you may not see it"),
        (413, "More bytes than a request may have"),
        (409, "Somebody else was faster, the name is taken, or vectors are missing"),
        (422, "A value that cannot be used"),
        (429, "Tried too often, or too much at a time"),
    )
}
"""What every route may answer beside its result, for OpenAPI."""


def problem(status: int, title: str, *, headers: Mapping[str, str] | None = None, **more: object) -> JSONResponse:
    """Return an error as problem+json."""
    body: dict[str, object] = {"type": "about:blank", "title": title, "status": status, **more}
    return JSONResponse(body, status_code=status, media_type=KIND, headers=headers)


def tell_problems(app: FastAPI) -> None:
    """Answer every error as problem+json, in words a person can act on."""
    app.add_exception_handler(StmAgentError, _known)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(StatementError, _database)
    app.add_exception_handler(OverflowError, _too_large)
    app.add_exception_handler(Exception, _fault)


def response_to(request: Request, error: Exception) -> JSONResponse:
    """Return the answer to an error of the tool or of its database, for code that runs before any route."""
    return _known(request, error) if isinstance(error, StmAgentError) else _database(request, error)


def _known(_request: Request, error: Exception) -> JSONResponse:
    more: dict[str, object] = {"current": error.current} if isinstance(error, Stale) else {}
    if isinstance(error, Unplaced):
        more = {"unplaced": error.unplaced}
    if isinstance(error, Unencoded):
        more = {"unencoded": error.unencoded}
    headers = {"retry-after": str(error.wait)} if isinstance(error, TooMany) else None
    if isinstance(error, Forged):
        # The page fetches its token again and repeats the request once.
        headers = {"x-csrf-token": "required"}
    return problem(error.status if isinstance(error, AnnotateError) else 400, str(error), headers=headers, **more)


def _unreadable(_request: Request, error: Exception) -> JSONResponse:
    place, reason = "", str(error)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place, reason = ".".join(str(part) for part in first["loc"] if part != "body"), str(first["msg"])
    reason = reason.removeprefix("Value error, ")
    return problem(422, f"{place}: {reason}" if place else reason)


def _http(_request: Request, error: Exception) -> JSONResponse:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    titles = {404: "nothing exists at this address", 405: "this address does not support that method"}
    return problem(status, titles.get(status, str(getattr(error, "detail", error))), headers=headers)


def _database(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, IntegrityError):
        return problem(409, "somebody else saved the same thing at the same time; load it again")
    if isinstance(error, DataError):
        return problem(422, "a value is too long or too large for the database")
    if isinstance(error, OperationalError):
        log.warning("database: %s", str(error.orig).splitlines()[0])
        return problem(503, "the database is busy or away; try again in a moment", headers={"retry-after": "2"})
    return _fault(request, error)


def _too_large(_request: Request, _error: Exception) -> JSONResponse:
    return problem(422, "a number is too large for the database")


def _fault(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return problem(500, "the tool made a mistake; nothing was saved, and its log says what happened")
