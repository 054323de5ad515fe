"""Counts every request by its route and its status, and measures it."""

from __future__ import annotations

from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stm_agent.deploy.metrics import Metrics


class Counted:
    """Stands in front of an application; plain ASGI, since a wrapped response costs as much as a short text."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Count into ``metrics``."""
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when its answer begins."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = monotonic()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # An address that no route has would make a new counter each time.
                route = getattr(scope.get("route"), "path", "none")
                self.metrics.requests.labels(route, str(message["status"])).inc()
                self.metrics.seconds.labels(route).observe(monotonic() - started)
            await send(message)

        await self.app(scope, receive, counted)
