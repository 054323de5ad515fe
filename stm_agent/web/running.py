"""Run a server until it is asked to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socket import socket

    import uvicorn


def run_until_stopped(server: uvicorn.Server, *sockets: socket) -> None:
    """Serve until Ctrl-C or SIGTERM, and return once the requests in flight are answered.

    Args:
        server: What is served.
        sockets: Bound already; none: the server binds its own.
    """
    with _stopped_once():
        server.run(sockets=list(sockets) or None)


@contextlib.contextmanager
def _stopped_once() -> Iterator[None]:
    """Make the signal that stopped a server end there.

    uvicorn raises it again when it has stopped, and SIGTERM would then end the process with a status that service
    managers count as a failure.
    """
    # Signals have handlers in the main thread alone; tests serve in others.
    handled = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda _signal, _frame: None) if handled else None
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
