"""Who may send a request, decided before its body is read."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from stm_agent.deploy.wire import Refused, error_body

OPEN = ("/health", "/", "/static/")
"""Paths that need no key: liveness, and the page, whose own requests send the key."""
IN_ADDRESS = {"key", "api_key", "api-key", "apikey", "token", "access_token"}
"""Names under which clients put a key into an address, which ends up in logs."""


class Guard:
    """Refuses requests without the key, with a key in the address, or sent by a page of another site; plain ASGI."""

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        """Stand in front of an application; without a key everybody who reaches the port may ask."""
        self.app, self.key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it without reading its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refused as refused:
            body = error_body(refused.status, refused.message, refused.param, refused.code)
            # The body was not read, so the connection cannot be used again.
            headers = {**refused.headers, "connection": "close"}
            await JSONResponse(body, refused.status, headers=headers)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), str(scope["path"])
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if any(name.lower() in IN_ADDRESS for name, _ in query):
            reason = "a key in the address ends up in logs; send 'Authorization: Bearer KEY', and replace this key"
            raise Refused(400, reason, code="key_in_address")
        if self.key is not None and path not in OPEN and not path.startswith("/static/"):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.key.encode()):
                reason = "the key is missing or wrong; send it as 'Authorization: Bearer KEY'"
                raise Refused(401, reason, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        # A page of another site can send a form or plain text without asking, but not JSON.
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            raise Refused(415, "send JSON with 'Content-Type: application/json'", code="not_json")
