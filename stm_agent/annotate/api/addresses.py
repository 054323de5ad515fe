"""Addresses whose parts may hold a slash: ``queries/swimming%2Fpool`` is the query ``swimming/pool``, and no pool.

Servers decode a path before it is matched, so an escaped slash would end a part. Here it is matched as a character that
no text has, and becomes a slash in the part.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from stm_agent.annotate.storable import NO_CHARACTER

ESCAPED = (b"%2f", b"%2F")


class KeyConvertor(PathConvertor):
    """A key in a route, written ``{name:key}``; a slash that is not escaped is taken too, where only one route fits."""

    def convert(self, value: str) -> str:
        """Return the key."""
        return value.replace(NO_CHARACTER, "/")

    def to_string(self, value: str) -> str:
        """Return the key as a part of a path."""
        return value.replace("/", NO_CHARACTER)


register_url_convertor("key", KeyConvertor())


class EscapedSlashes:
    """Keeps escaped slashes apart from those between the parts of a path."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with the path as it is to be matched."""
        raw: bytes = scope.get("raw_path") or b"" if scope["type"] == "http" else b""
        raw = raw.partition(b"?")[0]
        if any(escape in raw for escape in ESCAPED):
            for escape in ESCAPED:
                raw = raw.replace(escape, NO_CHARACTER.encode())
            scope = {**scope, "path": unquote(raw.decode("utf-8", errors="replace"))}
        await self.app(scope, receive, send)
