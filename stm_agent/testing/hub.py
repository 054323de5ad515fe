"""A Hub on loopback: repositories in memory, by the requests that ``huggingface_hub`` sends to create and to commit."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeHub:
    """Takes commits; a context manager that serves inside its block.

    Attributes:
        url: Address to give as endpoint.
        repositories: ``owner/name`` -> file -> content.
        private: Repositories that were created as private.
        gated: Repositories whose terms nobody has accepted.
        token: Token that requests must carry; None: any.
    """

    def __init__(self, token: str | None = None) -> None:
        """Take a free port."""
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.token = token
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _reply(self) -> None:
                body = self._body()
                if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                    self._send(401, {"error": "Invalid username or password."})
                    return
                path = self.path.partition("?")[0]
                self._send(*(hub.refusal(path) or hub.answer(path, body)))

            do_GET = do_HEAD = do_POST = _reply

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _send(self, status: int, content: dict[str, Any]) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if "code" in content:
                    self.send_header("X-Error-Code", content["code"])
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def refusal(self, path: str) -> tuple[int, dict[str, Any]] | None:
        """Return what the Hub answers for a repository that is gated or does not exist; None for all other paths."""
        if any(name in path for name in self.gated):
            return 403, {"error": "Access to this repository is restricted.", "code": "GatedRepo"}
        if "/missing/" in f"{path}/":
            return 404, {"error": "Repository not found", "code": "RepoNotFound"}
        return None

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return status and body of a request's answer."""
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.repositories.setdefault(name, {})
            if asked.get("private") or asked.get("visibility") == "private":
                self.private.add(name)
            return 200, {"url": f"{self.url}/{name}", "name": name, "id": "1"}
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}
        name, _, rest = path.removeprefix("/api/models/").partition("/preupload/")
        if rest:
            files = json.loads(body)["files"]
            return 200, {"files": [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in files]}
        name, _, rest = path.removeprefix("/api/models/").partition("/commit/")
        if rest and name in self.repositories:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return 200, {"success": True, "commitOid": "0" * 40, "commitUrl": f"{self.url}/{name}/commit/{'0' * 40}"}
        if path.startswith("/api/models/"):
            return 200, {"id": name, "sha": "0" * 40, "siblings": []}
        return 404, {"error": "not found"}

    def __enter__(self) -> FakeHub:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
