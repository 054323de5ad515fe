"""The address a server listens on."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from socket import socket


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host's address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port(host: str, port: int) -> int:
    """Return ``port`` if it can be listened on, or for 0 any port that can.

    Raises:
        ConfigError: The port is in use, or the host is not an address of this machine.
    """
    with _bound(host, port) as probe:
        return int(probe.getsockname()[1])


def listening_socket(host: str, port: int, backlog: int) -> socket:
    """Return a socket that takes connections; those that come before a server accepts them wait.

    Raises:
        ConfigError: The port is in use, or the host is not an address of this machine.
    """
    listening = _bound(host, port)
    listening.listen(backlog)
    return listening


def _bound(host: str, port: int) -> socket:
    import socket

    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror}); use another --port") from error
    return bound


def allow_open_files() -> None:
    """Let the process open as many files as the system allows it: each connection is one."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
