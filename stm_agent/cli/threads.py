"""Threads of commands that compute for a long time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from stm_agent.loop.events import Event, Observer


def threads_chooser(observer: Observer) -> Callable[[], None]:
    """Return what sets the number of threads before the work begins, and shows it."""

    def choose() -> None:
        from stm_agent.backbone.threads import choose_threads, set_threads

        threads, why = choose_threads()
        set_threads(threads)
        observer({"kind": "note", "name": "threads", "text": f"{threads} threads ({why})"})

    return choose


def raising_threads(observer: Observer) -> Observer:
    """Return an observer that also looks for idle cores at the beginning of every stage."""

    def show(event: Event) -> None:
        from stm_agent.backbone.threads import raise_threads

        if event["kind"] == "stage" and (more := raise_threads()):
            observer({"kind": "note", "name": "threads", "text": f"{more} threads: a core has become idle"})
        observer(event)

    return show
