"""Routes whose JSON is parsed and checked in a thread: the event loop serves everybody else meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

# Routes are written with its convertor, so it comes with their class.
from stm_agent.annotate.api import addresses as addresses
from stm_agent.annotate.storable import unstorable

SMALL = 50_000
"""Bytes that are parsed at once: a thread takes longer to start than they need."""
MOST_PARTS = 100
"""Largest number of keys of a body. The largest body has a dozen; each unknown one would become an error of its own."""


class BodyRoute(APIRoute):
    """A route whose request parses its body in a thread, and refuses values that no database or no JSON keeps."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[object, None, Response]]:
        """Return the handler, which gets a request of the kind above."""
        handle = super().get_route_handler()

        async def parsed(request: Request) -> Response:
            return await handle(_ParsedRequest(request.scope, request.receive))

        return parsed


class _ParsedRequest(Request):
    _parsed: object

    async def json(self) -> object:
        """Return the parsed body.

        Raises:
            HTTPException: The body holds a value that cannot be stored.
        """
        if not hasattr(self, "_parsed"):
            body = await self.body()
            self._parsed = _parse(body) if len(body) < SMALL else await run_in_threadpool(_parse, body)
        return self._parsed


def _parse(body: bytes) -> object:
    value: object = json.loads(body)
    if (fault := unstorable(value)) is not None:
        # FastAPI answers other errors that a body raises with 400 and no reason.
        raise HTTPException(422, f"the request {fault}")
    if isinstance(value, dict) and len(value) > MOST_PARTS:
        raise HTTPException(422, f"the request has {len(value):,} keys; no request has more than {MOST_PARTS}")
    return value
