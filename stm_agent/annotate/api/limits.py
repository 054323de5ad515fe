"""The largest body of a request, by its path and its sender."""

from __future__ import annotations

from starlette.types import Scope

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
