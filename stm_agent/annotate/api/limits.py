"""No request fills the memory: a body that is too large is refused, however it is sent."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FILE = 200_000_000
"""Bytes of an upload, at most; more comes in by ``stm-agent annotate import``."""
JSON = 64_000_000
"""Bytes of any other request, at most."""
FORM = 1_000_000
"""Bytes of what stands around an uploaded file, at most."""


class Limited:
    """Counts what comes in; plain ASGI, since a wrapped request would be read whole before it is counted."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and stop it where it has more bytes than its kind may have."""
        headers = dict(scope.get("headers", ()))
        sends_file = headers.get(b"content-type", b"").startswith(b"multipart/")
        most = FILE + FORM if sends_file else JSON
        told = headers.get(b"content-length", b"0")
        come = 0

        async def counted() -> Message:
            nonlocal come
            message = await receive()
            come += len(message.get("body", b""))
            if max(come, int(told) if told.isdigit() else 0) > most:
                way = "; import the file by 'stm-agent annotate import'" if sends_file else "; send it in parts"
                raise HTTPException(413, f"the request is larger than {most // 1_000_000} MB{way}")
            return message

        await self.app(scope, counted, send)
