"""Run the server: uvicorn on one address, until it is stopped."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.deploy.product import Product
from stm_agent.errors import ConfigError
from stm_agent.web.address import allow_open_files, free_port, is_loopback, listening_socket
from stm_agent.web.running import run_until_stopped

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from stm_agent.deploy.service import ServeOptions

KEEP_ALIVE_SECONDS = 75
"""Longer than any client keeps a connection: closed at the same moment by both, a request on it would be lost."""
STOP_SECONDS = 30
"""Time for the requests that are in flight when the server is stopped."""
BACKLOG = 2048
"""Connections that wait to be accepted."""


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a server listens, and for whom.

    Attributes:
        host: Address to listen on.
        port: Port; 0: any that is free.
        key: What clients must send; None: nothing.
        public: Whether an address that others can reach may be served without a key.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    key: str | None = None
    public: bool = False

    def checked_port(self) -> int:
        """Return a port that can be listened on.

        Raises:
            ConfigError: Others could use the server without a key, or the port is in use.
        """
        if self.key is None and not self.public and not is_loopback(self.host):
            raise ConfigError(
                f"anybody who reaches {self.host} could use the model; set STM_AGENT_SERVE_KEY to a key that clients "
                "must send, or give --public"
            )
        return free_port(self.host, self.port)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names by which clients may call the server; empty: any."""
        return ("localhost", "127.0.0.1", "[::1]", self.host) if is_loopback(self.host) else ()


def config_of(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """Return the configuration of the server at an address."""
    import uvicorn

    from stm_agent.web.deadlines import DeadlineProtocol

    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=DeadlineProtocol,
        ws="none",
        log_level="warning",
        # A key that a client put into the address would be in it.
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=BACKLOG,
        proxy_headers=False,
    )


def serve(
    products: Sequence[Product],
    workspace: Path,
    listening: Listening,
    options: ServeOptions,
    *,
    announce: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C or SIGTERM; requests in flight are answered first.

    Args:
        products: What to serve, the main model first.
        workspace: Whose ``reviews/`` gets the thumbs.
        listening: Address and key.
        options: Queue and input type.
        announce: Gets the server's address when it takes connections.

    Raises:
        ConfigError: The port is in use, or others could use the server without a key.
        BackboneError: A model cannot be loaded.
    """
    port = listening.checked_port()
    import uvicorn

    from stm_agent.deploy.app import build_app
    from stm_agent.deploy.service import Service

    service = Service(products, workspace, options)
    allow_open_files()
    app = build_app(service, key=listening.key, hosts=listening.hosts)
    # What was loaded stays: a search for garbage need not look at it again.
    gc.freeze()
    gc.enable()
    server = uvicorn.Server(config_of(app, listening.host, port))
    shown = f"[{listening.host}]" if ":" in listening.host else listening.host
    try:
        with listening_socket(listening.host, port, BACKLOG) as bound:
            # Whoever reads the address may connect at once, before uvicorn has begun.
            announce(f"http://{shown}:{port}")
            run_until_stopped(server, bound)
    finally:
        service.close()
    if not server.started:
        raise ConfigError(f"the server did not start on {listening.host}:{port}; its log says why")
