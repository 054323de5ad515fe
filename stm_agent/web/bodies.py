"""Limits of a request's body: its bytes, and the time it may take to arrive."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from anyio import fail_after
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_SECONDS = 30.0
"""Time for a body, beside what its bytes need at the slowest rate."""
SLOWEST = 10_000
"""Bytes a second that a client must send on average."""

BodyLimit = Callable[[Scope], tuple[int, str]]
"""Returns the largest number of bytes of a request's body, and what its sender can do about a larger one."""


class LimitedBodies:
    """Counts the bytes of a body as they arrive; plain ASGI, because a wrapped request would be read whole first."""

    def __init__(self, app: ASGIApp, limit_of: BodyLimit) -> None:
        """Stand in front of an application."""
        self.app, self.limit_of = app, limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and stop it once its body has more bytes than it may have."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most, hint = self.limit_of(scope)
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
    size = f"{most // 1_000_000} MB" if most >= 1_000_000 else f"{most // 1000} kB"
    return f"the request is larger than {size}{hint}"
