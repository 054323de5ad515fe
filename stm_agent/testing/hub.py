"""A Hub on loopback: repositories in memory, by the requests that ``huggingface_hub`` sends to create and to commit."""

from __future__ import annotations

import base64
import json

from stm_agent.testing.loopback import LoopbackServer, Reply, Request


class FakeHub(LoopbackServer):
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
        super().__init__(self._reply)
        self.url = self.origin

    def _reply(self, request: Request) -> Reply:
        if self.token and request.token != self.token:
            return Reply(401, json.dumps({"error": "Invalid username or password."}).encode())
        status, content = self.refusal(request.path) or self.answer(request.path, request.body)
        headers = {"X-Error-Code": str(content["code"])} if "code" in content else {}
        return Reply(status, json.dumps(content).encode(), headers=headers)

    def refusal(self, path: str) -> tuple[int, dict[str, object]] | None:
        """Return what the Hub answers for a repository that is gated or does not exist; None for all other paths."""
        if any(name in path for name in self.gated):
            return 403, {"error": "Access to this repository is restricted.", "code": "GatedRepo"}
        if "/missing/" in f"{path}/":
            return 404, {"error": "Repository not found", "code": "RepoNotFound"}
        return None

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, object]]:
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
