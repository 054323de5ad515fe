"""An application of ``stm-agent serve`` on loopback, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


@contextmanager
def serving_app(app: FastAPI) -> Iterator[str]:
    """Serve an application on loopback; yield its address."""
    import uvicorn

    from stm_agent.deploy.serve import config_of
    from stm_agent.web.address import free_port

    port = free_port("127.0.0.1", 0)
    server = uvicorn.Server(config_of(app, "127.0.0.1", port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
