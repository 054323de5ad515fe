"""Run the tool: uvicorn on one address, until it is stopped."""

from __future__ import annotations

import ipaddress
import sys
import threading
from collections.abc import Callable

from stm_agent.annotate.pages.mount import mount_pages, open_url
from stm_agent.annotate.services import inviting, searching
from stm_agent.annotate.tool import Tool
from stm_agent.errors import ConfigError

KEEP_ALIVE_SECONDS = 75
"""Longer than any client keeps a connection: closed at the same moment by both, a request on it would be lost."""

SWITCH_SECONDS = 0.0005
"""How long one thread runs while others wait: a page takes some twenty turns, and Python's 5 ms each would add up to
more than its own work while an index is made beside it."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host's address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def first_administrator(tool: Tool) -> str | None:
    """Return an invitation for the first administrator of a team's tool; None if one can log in."""
    with tool.database.writing() as session:
        return inviting.first_administrator(session)


def serve(tool: Tool, *, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; ``tell`` gets the address to open. Port 0 is any that is free.

    Raises:
        ConfigError: The port is taken.
    """
    import socket

    import uvicorn

    from stm_agent.annotate.api.app import build_app

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            port = probe.getsockname()[1]
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror}); use another --port") from error
    app = build_app(tool)
    mount_pages(app)
    sys.setswitchinterval(SWITCH_SECONDS)
    threading.Thread(target=searching.index_all, args=(tool.database, tool.finder), daemon=True).start()
    url = open_url(tool, host, port)
    token = first_administrator(tool) if tool.token is None else None
    tell(f"{url}join#{token}" if token else url)
    # The token stands in the first request's line; no access log keeps it.
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE_SECONDS)
