"""Ask an LLM for many texts at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOK_AHEAD = 4
"""Items begun or done beyond the first unfinished one, in widths: one slow answer then leaves no other call idle."""


def in_parallel(ask: Callable[[Item], Result], items: Iterable[Item], *, width: int) -> Generator[Result, None, None]:
    """Yield ``ask(item)`` for each item, in the order of the items, with at most ``width`` calls at a time.

    The first exception, in the order of the items, is raised where its result would be. No call begins after an
    exception; calls that have begun are waited for, since they are paid for. What is yielded before it is therefore
    the same for every width. Close the generator to leave it early.

    Args:
        ask: Thread-safe function of one item.
        items: Read as far ahead as calls may begin.
        width: Calls at a time; 1 asks one after another in the caller's thread.

    Raises:
        ValueError: ``width`` is below 1.
    """
    if width < 1:
        raise ValueError(f"{width} calls at a time is too few; use 1 or more")
    if width == 1:
        yield from map(ask, items)
        return
    failed = threading.Event()

    def ask_unless_failed(item: Item) -> Result:
        # Calls begin in the order of the items, so that this one comes after the item that failed.
        if failed.is_set():
            raise CancelledError
        try:
            return ask(item)
        except BaseException:
            failed.set()
            raise

    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(width, thread_name_prefix="llm")
    try:
        for item in items:
            while waiting and (waiting[0].done() or len(waiting) >= LOOK_AHEAD * width):
                yield waiting.popleft().result()
            waiting.append(pool.submit(ask_unless_failed, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        failed.set()
        pool.shutdown(cancel_futures=True)
