"""Progress of long work, and the safe points at which it may be stopped.

Jobs hold no callback, so what they report goes to the watcher of the process that builds them. Each report is also a
safe point: a watcher that wants to stop is obeyed there, between two steps or two texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from stm_agent.errors import StopRequested


class Watcher(Protocol):
    """Follows long work."""

    def progress(self, name: str, text: str, done: int, total: int) -> None:
        """Receive one report: ``done`` of ``total`` units of the stage ``name``."""
        ...

    def stop_reason(self) -> str | None:
        """Return why the work should stop at its next safe point; None: it should continue."""
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def show(name: str, text: str, done: int, total: int) -> None:
    """Report progress where the work cannot be stopped, such as in the middle of a training step."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher.progress(name, text, done, total)


def report(name: str, text: str, done: int, total: int) -> None:
    """Report progress, then stop here if that was asked for.

    Raises:
        StopRequested: The watcher asked for a stop.
    """
    show(name, text, done, total)
    safe_point()


def safe_point() -> None:
    """Stop here if that was asked for; nothing is half-done at this moment.

    Raises:
        StopRequested: The watcher asked for a stop.
    """
    watcher = _watcher.get()
    reason = watcher.stop_reason() if watcher is not None else None
    if reason is not None:
        raise StopRequested(reason)


def stop_asked() -> bool:
    """Return whether the watcher asked for a stop, for code that must first save what it has."""
    watcher = _watcher.get()
    return watcher is not None and watcher.stop_reason() is not None


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Send the reports of the block to ``watcher``."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def without_stops() -> Iterator[None]:
    """Make nothing in the block a safe point: the work around it would lose more than the block takes."""
    token = _watcher.set(None)
    try:
        yield
    finally:
        _watcher.reset(token)
