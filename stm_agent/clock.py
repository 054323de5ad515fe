"""Wall time of a run over all processes that worked on it, and the part of it that was work.

Every process counts its own monotonic seconds and stores them every few seconds, so a kill loses at most that much and
a system clock that jumps changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from stm_agent.errors import StorageError
from stm_agent.files import read_json, write_json

BEAT_SECONDS = 5.0
"""How often a process stores its seconds."""


def stored_seconds(folder: Path) -> float:
    """Return the seconds that processes stored in ``folder``."""
    return sum(seconds for seconds, _ in _stored(folder))


def _stored(folder: Path) -> list[tuple[float, float | None]]:
    """Return seconds and working seconds of each process; an older version stored no working seconds."""
    rows: list[tuple[float, float | None]] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        # A damaged file costs its seconds, not the run.
        with contextlib.suppress(StorageError, KeyError, TypeError, ValueError):
            row = read_json(path)
            rows.append((float(row["seconds"]), float(row["working"]) if "working" in row else None))
    return rows


class RunClock:
    """Counts the seconds of this process and adds those of earlier ones; a context manager that stores them."""

    def __init__(self, folder: Path) -> None:
        """Start counting; ``folder`` keeps one file for each process."""
        self.folder = folder
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._began = time.monotonic()
        self._before = _stored(folder)
        self._worked = 0.0
        self._working_since: float | None = None
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._store_until_ended, name="run-clock", daemon=True)

    @property
    def own_seconds(self) -> float:
        """Seconds of this process so far."""
        return time.monotonic() - self._began

    def seconds(self) -> float:
        """Return the seconds of the run so far, over all processes."""
        return sum(seconds for seconds, _ in self._before) + self.own_seconds

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time of the block as work, not as overhead; a block inside another one counts once."""
        if self._working_since is not None:
            yield
            return
        self._working_since = time.monotonic()
        try:
            yield
        finally:
            self._worked, self._working_since = self._own_work(), None

    def overhead_share(self) -> float:
        """Return the share of the run's seconds, over all processes, that was no work."""
        known = [(seconds, worked) for seconds, worked in self._before if worked is not None]
        known.append((self.own_seconds, self._own_work()))
        total = sum(seconds for seconds, _ in known)
        return max(0.0, total - sum(worked for _, worked in known)) / total

    def _own_work(self) -> float:
        since = self._working_since
        return self._worked + (time.monotonic() - since if since is not None else 0.0)

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
            row = {"seconds": round(self.own_seconds, 3), "working": round(self._own_work(), 3)}
            write_json(self.folder / f"{self._name}.json", row)
