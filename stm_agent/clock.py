"""Wall time of a run over all processes that worked on it.

Every process counts its own monotonic seconds and stores them every few seconds, so a kill loses at most that much and
a system clock that jumps changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

from stm_agent.errors import StorageError
from stm_agent.files import read_json, write_json

BEAT_SECONDS = 5.0
"""How often a process stores its seconds."""


def stored_seconds(folder: Path, besides: str = "") -> float:
    """Return the seconds that processes stored in ``folder``, without the process named ``besides``."""
    total = 0.0
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        if path.stem != besides:
            # A damaged file costs its seconds, not the run.
            with contextlib.suppress(StorageError, KeyError, TypeError, ValueError):
                total += float(read_json(path)["seconds"])
    return total


class RunClock:
    """Counts the seconds of this process and adds those of earlier ones; a context manager that stores them."""

    def __init__(self, folder: Path) -> None:
        """Start counting; ``folder`` keeps one file for each process."""
        self.folder = folder
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._began = time.monotonic()
        self._before = stored_seconds(folder)
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._store_until_ended, name="run-clock", daemon=True)

    @property
    def own_seconds(self) -> float:
        """Seconds of this process so far."""
        return time.monotonic() - self._began

    def seconds(self) -> float:
        """Return the seconds of the run so far, over all processes."""
        return self._before + self.own_seconds

    def __enter__(self) -> RunClock:
        """Begin to store."""
        self._beat.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Store the last seconds."""
        self._ended.set()
        self._beat.join()
        self._store()

    def _store_until_ended(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            self._store()

    def _store(self) -> None:
        # A full disk ends the stage that needs room, not the clock.
        with contextlib.suppress(StorageError):
            write_json(self.folder / f"{self._name}.json", {"seconds": round(self.own_seconds, 3)})
