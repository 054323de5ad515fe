"""Leases: locks at a store of artefacts, which has no file locks, so that two machines never build one stage twice.

A lease is an object that only one writer can create. Its holder writes it again every few seconds; one that has not
changed for :data:`STALE_SECONDS` belongs to a process that is gone, and may be taken over. No clocks are compared.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid

import psutil

from stm_agent.errors import ExecutionError
from stm_agent.execute.artefacts import ArtefactStore, reaching, read_text, write_new

BEAT_SECONDS = 10.0
"""How often a holder renews its leases."""
STALE_SECONDS = 60.0
"""After so long without a renewal a lease may be taken over."""
SETTLE_SECONDS = 1.0
"""Two processes that take over one lease both write it; after so long each looks whose name is in it."""


class Leases:
    """The leases that this process holds at one store."""

    def __init__(self, store: ArtefactStore, *, stale: float = STALE_SECONDS, beat: float = BEAT_SECONDS) -> None:
        """Hold nothing yet."""
        self._store, self._stale, self._beat = store, stale, beat
        self._own = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
        self._held: set[str] = set()
        self._seen: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._beats = 0

    def take(self, name: str) -> bool:
        """Take the lease of a stage; return False if another process holds it.

        Raises:
            ExecutionError: The store cannot be reached.
        """
        with reaching(self._store.url):
            system, root = self._store.opened()
            path = f"{root}/leases/{name}"
            taken = write_new(system, path, self._text())
            if not taken and self._is_stale(name, read_text(system, path)):
                system.pipe_file(path, self._text().encode())
                time.sleep(SETTLE_SECONDS)
                taken = _owner(read_text(system, path)) == self._own
        if taken:
            self._seen.pop(name, None)
            with self._lock:
                self._held.add(name)
            self._start_beating()
        return taken

    def release(self, name: str) -> None:
        """Give a lease back; one that cannot be removed is stale soon."""
        with self._lock:
            self._held.discard(name)
        try:
            with reaching(self._store.url):
                system, root = self._store.opened()
                if _owner(read_text(system, f"{root}/leases/{name}")) == self._own:
                    system.rm_file(f"{root}/leases/{name}")
        except ExecutionError:
            return

    def _is_stale(self, name: str, text: str | None) -> bool:
        """Return whether a lease did not change while this process watched it, or its process on this host is gone."""
        if text is None:
            return True
        host, _, rest = _owner(text).partition(" ")
        process = rest.partition(" ")[0]
        if host == socket.gethostname() and process.isdigit() and not psutil.pid_exists(int(process)):
            return True
        before, since = self._seen.get(name, ("", 0.0))
        if before != text:
            self._seen[name] = (text, time.monotonic())
            return False
        return time.monotonic() - since >= self._stale

    def _text(self) -> str:
        self._beats += 1
        return json.dumps({"owner": self._own, "beat": self._beats})

    def _start_beating(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._renew_while_held, name="leases", daemon=True)
                self._thread.start()

    def _renew_while_held(self) -> None:
        while True:
            time.sleep(self._beat)
            with self._lock:
                held = sorted(self._held)
                if not held:
                    self._thread = None
                    return
            for name in held:
                self._renew(name)

    def _renew(self, name: str) -> None:
        # A store that is away for a moment costs a beat, not the work; the next use of it reports what is wrong.
        try:
            with reaching(self._store.url):
                system, root = self._store.opened()
                with self._lock:
                    if name in self._held:
                        system.pipe_file(f"{root}/leases/{name}", self._text().encode())
        except ExecutionError:
            return


def _owner(text: str | None) -> str:
    """Return who wrote a lease; empty if it cannot be read."""
    try:
        row = json.loads(text or "")
    except ValueError:
        return ""
    return str(row.get("owner", "")) if isinstance(row, dict) else ""
