"""Run the tool: uvicorn on one address, until it is stopped."""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.annotate.pages.mount import mount_pages, open_url
from stm_agent.annotate.services import inviting, searching
from stm_agent.annotate.tool import Tool
from stm_agent.errors import ConfigError
from stm_agent.web.address import allow_open_files, free_port, is_loopback
from stm_agent.web.running import run_until_stopped

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

KEEP_ALIVE_SECONDS = 75
"""Longer than any client keeps a connection: closed at the same moment by both, a request on it would be lost."""

SWITCH_SECONDS = 0.0005
"""How long one thread runs while others wait: a page takes some twenty turns, and Python's 5 ms each would add up to
more than its own work while an index is made beside it."""


def first_administrator(tool: Tool) -> str | None:
    """Return an invitation for the first administrator of a team's tool; None if one can log in."""
    with tool.database.writing() as session:
        return inviting.first_administrator(session)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the tool listens, and how.

    Attributes:
        host: Address to listen on.
        port: Port; 0: any that is free.
        tls_cert: File with the certificate chain; None: plain HTTP.
        tls_key: File with its private key.
        proxies: Addresses of reverse proxies whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
    """

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None
    proxies: Sequence[str] = ()

    def check(self) -> None:
        """Require a certificate and a key that belong together, or neither.

        Raises:
            ConfigError: One is missing, or they cannot be used.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("TLS needs both --tls-cert and --tls-key")
        if self.tls_cert is None or self.tls_key is None:
            return
        for path in (self.tls_cert, self.tls_key):
            if not path.is_file():
                raise ConfigError(f"the TLS file {path} does not exist")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.tls_cert, self.tls_key, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(f"--tls-cert {self.tls_cert} and its key cannot be used: {error}") from error

    @property
    def warning(self) -> str | None:
        """What to say before passwords cross a network in clear; None if they do not."""
        if self.tls_cert is not None or self.proxies or is_loopback(self.host):
            return None
        return (
            "warning: over plain HTTP passwords and texts cross the network in clear; use --tls-cert and --tls-key, or "
            "a reverse proxy with TLS and --proxy"
        )


def config_of(app: FastAPI, address: Address) -> uvicorn.Config:
    """Return the configuration of the server at an address."""
    import uvicorn

    from stm_agent.web.deadlines import DeadlineProtocol

    return uvicorn.Config(
        app,
        host=address.host,
        port=address.port,
        http=DeadlineProtocol,
        ws="none",
        log_level="warning",
        # The token stands in the first request's line; no access log keeps it.
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # uvicorn's own default believes every client of this machine, and an environment variable.
        proxy_headers=bool(address.proxies),
        forwarded_allow_ips=list(address.proxies),
        ssl_certfile=address.tls_cert,
        ssl_keyfile=address.tls_key,
    )


def serve(tool: Tool, address: Address, *, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; ``tell`` gets the address to open.

    Raises:
        ConfigError: The port is taken, the TLS files cannot be used, or the server did not start.
    """
    import uvicorn

    from stm_agent.annotate.api.app import build_app

    address.check()
    address = replace(address, port=free_port(address.host, address.port))
    app = build_app(tool)
    mount_pages(app)
    sys.setswitchinterval(SWITCH_SECONDS)
    allow_open_files()
    threading.Thread(target=searching.index_all, args=(tool.database, tool.finder), daemon=True).start()
    url = open_url(tool, address.host, address.port, "http" if address.tls_cert is None else "https")
    token = first_administrator(tool) if tool.token is None else None
    tell(f"{url}join#{token}" if token else url)
    server = uvicorn.Server(config_of(app, address))
    run_until_stopped(server)
    if not server.started:
        raise ConfigError(f"the server did not start on {address.host}:{address.port}; its log says why")
