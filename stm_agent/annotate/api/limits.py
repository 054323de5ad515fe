"""The largest body of a request, by its path and its sender, and the longest time for it."""

from __future__ import annotations

from time import monotonic

from anyio import fail_after
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.api.access import needs_login

FILE = 200_000_000
"""Largest number of bytes of an administrator's upload; more comes in by ``stm-agent annotate import``."""
DOCUMENTS = 64_000_000
"""Largest number of bytes of documents that an administrator sends as JSON."""
JSON = 8_000_000
"""Largest number of bytes of any other request by a person of the tool."""
OPEN = 16_000
"""Largest number of bytes of a request by anybody: a name and a password are far smaller."""
FORM = 1_000_000
"""Largest number of bytes of what stands around an uploaded file."""
BODY_SECONDS = 30.0
"""Time for a body, beside what its bytes need at the slowest rate."""
SLOWEST = 10_000
"""Bytes a second that a client must send on average."""
UPLOADS = ("/import", "/runs/trec", "/qrels")
"""Ends of the paths that take a file."""


def limit_of(scope: Scope) -> tuple[int, str]:
    """Return the largest number of bytes of a request's body, and what its sender can do about a larger one."""
    if not needs_login(scope):
        return OPEN, ""
    actor: Actor = scope["state"]["actor"]
    path, content_type = str(scope["path"]), dict(scope["headers"]).get(b"content-type", b"")
    if actor.role == "admin" and path.endswith(UPLOADS) and content_type.startswith(b"multipart/"):
        return FILE + FORM, "; import the file by 'stm-agent annotate import'"
    if actor.role == "admin" and path.endswith("/documents"):
        return DOCUMENTS, "; send it in parts"
    return JSON, "; send it in parts"


class Limited:
    """Counts the bytes of a body as they arrive; plain ASGI, because a wrapped request would be read whole first."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and stop it once its body has more bytes than it may have."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most, hint = limit_of(scope)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        began, total, complete = monotonic(), 0, False

        async def counted() -> Message:
            nonlocal total, complete
            if complete:
                # Whoever asks now waits for the client to leave.
                return await receive()
            if announced.isdigit() and int(announced) > most:
                raise HTTPException(413, _too_large(most, hint))
            try:
                with fail_after(began + BODY_SECONDS + total / SLOWEST - monotonic()):
                    message = await receive()
            except TimeoutError as error:
                reason = "the request's body comes too slowly; send it again"
                raise HTTPException(408, reason, headers={"connection": "close"}) from error
            total += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if total > most:
                raise HTTPException(413, _too_large(most, hint))
            return message

        await self.app(scope, counted, send)


def _too_large(most: int, hint: str) -> str:
    size = f"{most // 1_000_000} MB" if most >= JSON else f"{most // 1000} kB"
    return f"the request is larger than {size}{hint}"
