"""An HTTP server of a test's own, on loopback, for fakes of services."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import NamedTuple, Self

JSON = "application/json"


class Reply(NamedTuple):
    """Status, body, content type and other headers of an answer."""

    status: int
    body: bytes
    kind: str = JSON
    headers: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """A request whose body was read; ``path`` is without the part behind ``?``, ``token`` that of its header."""

    method: str
    path: str
    body: bytes
    token: str | None


class LoopbackServer:
    """Answers every request by a function; a context manager that serves inside its block.

    Attributes:
        origin: Its address.
    """

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        """Take a free port."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _reply(self) -> None:
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
                reply = answer(Request(self.command, self.path.partition("?")[0], self._body(), token))
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.kind)
                self.send_header("Content-Length", str(len(reply.body)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                # Clients that keep connections would leave them open when the test ends.
                self.send_header("Connection", "close")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _reply

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *arguments: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
