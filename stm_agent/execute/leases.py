"""Leases: locks at a store of artefacts, which has no file locks, so that two machines never build one stage twice.

A lease is an object that only one writer can create. Its holder writes it again every few seconds; one that has not
changed for :data:`STALE_SECONDS` belongs to a process that is gone, and may be taken over. No clocks are compared.

Whoever changes a lease first creates a claim: an object named by the lease's present text, which one writer alone can
create, too. So of several processes that take over a lease one gets it, and a holder that slept cannot renew a lease
that it lost meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING

import psutil

from stm_agent.errors import ExecutionError
from stm_agent.execute.artefacts import ArtefactStore, reaching, read_text, write_new
from stm_agent.files import sha256_text

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

logger = logging.getLogger(__name__)
BEAT_SECONDS = 10.0
"""How often a holder renews its leases."""
STALE_SECONDS = 60.0
"""After so long without a renewal a lease may be taken over."""


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
            if not taken and (text := read_text(system, path)) is not None and self._is_stale(name, text):
                taken = self._change(system, path, text, self._text())
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
                path = f"{root}/leases/{name}"
                text = read_text(system, path)
                if text is not None and _owner(text) == self._own:
                    self._change(system, path, text, None)
        except ExecutionError:
            return

    def _change(self, system: AbstractFileSystem, path: str, before: str, text: str | None) -> bool:
        """Write a lease, or with None remove it, if it still has the text that was read; return whether it was done."""
        claim = f"{path}.{sha256_text(before)[:16]}"
        if not write_new(system, claim, self._text()):
            standing = read_text(system, claim)
            if standing is not None and self._is_stale(claim, standing):
                # Its process ended in between; the next try finds no claim.
                _remove(system, claim)
            return False
        try:
            if read_text(system, path) != before:
                return False
            if text is None:
                _remove(system, path)
            else:
                system.pipe_file(path, text.encode())
            return True
        finally:
            _remove(system, claim)

    def _is_stale(self, name: str, text: str) -> bool:
        """Return whether a lease did not change while this process watched it, or its process on this host is gone."""
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
                path = f"{root}/leases/{name}"
                with self._lock:
                    if name not in self._held:
                        return
                    text = read_text(system, path)
                    if text is None or _owner(text) != self._own:
                        self._held.discard(name)
                        logger.warning("another process took over %s, which may be built twice", name)
                        return
                    self._change(system, path, text, self._text())
        except ExecutionError:
            return


def _remove(system: AbstractFileSystem, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        system.rm_file(path)


def _owner(text: str | None) -> str:
    """Return who wrote a lease; empty if it cannot be read."""
    try:
        row = json.loads(text or "")
    except ValueError:
        return ""
    return str(row.get("owner", "")) if isinstance(row, dict) else ""
