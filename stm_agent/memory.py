"""The memory that a process and its children use, with shared pages counted once."""

from __future__ import annotations

import contextlib
import os
import threading
from types import TracebackType

import psutil

INTERVAL = 1.0
"""Seconds between two measurements."""
CHANGED = 0.01
"""Relative change of the resident size that leads to a full count."""


class PeakMemory:
    """Measures a process tree from a thread; ``gib`` is the largest amount so far.

    Parent and children reach their largest sizes at different moments, so the sum of the kernel's maxima
    (``getrusage``) is not a peak. This class measures one, to the precision of its interval. To count shared pages
    once, the kernel walks every page and blocks the process meanwhile. That is done only if the cheap sum, which counts
    them for every process, could be a new peak and has changed since the last full count.
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
        """Start measuring."""
        self._measure()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the thread and measure once more."""
        self._end.set()
        self._thread.join()
        self._measure()

    def _watch(self) -> None:
        while not self._end.wait(self._interval):
            self._measure()

    def _measure(self) -> None:
        resident = _resident_gib(self._root)
        if resident > self.gib and abs(resident - self._counted) > self._counted * CHANGED:
            self._counted = resident
            self.gib = max(self.gib, tree_gib(self._root))


def tree_gib(pid: int) -> float:
    """Return the memory that a process and its children use now, in GiB; 0.0 if the process has ended.

    Proportional set size on Linux (a page that two processes share counts once), resident set size elsewhere.
    """
    return sum(_size_of(process) for process in _tree(pid)) / 2**30


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


def _size_of(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.Error:  # it has ended meanwhile, or may not be read
        return 0
