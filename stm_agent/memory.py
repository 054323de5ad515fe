"""The memory a job really holds: the process and its children, shared pages counted once."""

from __future__ import annotations

import contextlib
import os
import threading
from types import TracebackType

import psutil

INTERVAL = 1.0
"""Seconds between two looks."""
CHANGED = 0.01
"""Change of the resident size that is worth a full count."""


class PeakMemory:
    """Looks at a process tree from a thread; ``gib`` is the most it ever held.

    A child's largest size and the parent's are reached at different moments, so the sum of the two maxima
    the kernel keeps (``getrusage``) is not a peak; this is one, to the interval's precision. Counting shared
    pages once makes the kernel walk every page of a process and hold it up meanwhile, so that is done only when
    the cheap sum, in which they count for each, could be a new peak and is not what it was at the last count.
    """

    def __init__(self, pid: int | None = None, interval: float = INTERVAL) -> None:
        """Watch ``pid`` (None: this process) and all its children."""
        self.gib = 0.0
        self._counted = 0.0
        self._root = pid or os.getpid()
        self._interval = interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        """Begin to look."""
        self._look()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Look a last time and end the thread."""
        self._end.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._end.wait(self._interval):
            self._look()

    def _look(self) -> None:
        resident = _resident_gib(self._root)
        if resident > self.gib and abs(resident - self._counted) > self._counted * CHANGED:
            self._counted = resident
            self.gib = max(self.gib, tree_gib(self._root))


def tree_gib(pid: int) -> float:
    """Return what a process and its children hold now, in GiB; 0.0 when the process is gone.

    Proportional set size on Linux (a page that two processes share counts once), resident set size elsewhere.
    """
    return sum(_held(process) for process in _tree(pid)) / 2**30


def _resident_gib(pid: int) -> float:
    total = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total / 2**30


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _held(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.Error:  # it ended between two lines, or is not ours to read
        return 0
