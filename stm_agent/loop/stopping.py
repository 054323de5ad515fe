"""Ctrl-C, SIGTERM and ``stm-agent runs stop`` as one request: end at the next safe point, with the best model."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from stm_agent.loop.events import Observer

STOP_FILE = "stop"
"""A file of this name in a run's folder asks the run to stop."""
LOOK_SECONDS = 0.5
"""Least seconds between two checks for the file."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """A request to stop, from a signal or from a file in the run's folder."""

    def __init__(self, run: Path) -> None:
        """Watch the folder of a run; remove a request left by an earlier process."""
        self._file = run / STOP_FILE
        self._reason: str | None = None
        self._looked = time.monotonic()

    def reason(self) -> str | None:
        """Return why the run should stop; None: it should continue."""
        if self._reason is None and time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            if self._file.exists():
                self._reason = "stopped by 'stm-agent runs stop'"
        return self._reason

    def request(self, reason: str) -> None:
        """Ask for a stop."""
        self._reason = reason

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Turn SIGINT and SIGTERM into a request; a second signal ends the process at once.

        Outside of the main thread Python installs no handlers, so signals keep their meaning.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def handle(number: int, frame: FrameType | None) -> None:
            if self._reason is not None:
                raise KeyboardInterrupt
            self.request(f"stopped by {signal.Signals(number).name}")

        for number in SIGNALS:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class StoppableWatcher:
    """Passes the progress of jobs to an observer, and a request to stop to the jobs.

    Attributes:
        observer: Receives the progress.
        stop: The request.
    """

    observer: Observer
    stop: StopSignal

    def progress(self, name: str, text: str, done: int, total: int) -> None:
        """Pass one report to the observer."""
        self.observer({"kind": "progress", "name": name, "text": text, "done": done, "total": total})

    def stop_reason(self) -> str | None:
        """Return why the work should stop; None: it should continue."""
        return self.stop.reason()
