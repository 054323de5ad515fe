"""Ask an LLM for many texts at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(ask: Callable[[Item], Result], items: Iterable[Item], *, width: int) -> Iterator[Result]:
    """Yield ``ask(item)`` for each item, in the order of the items, with at most ``width`` calls at a time.

    The first exception, in the order of the items, is raised where its result would be; calls that have begun are
    waited for, since they are paid for, and no other one begins.

    Args:
        ask: Thread-safe function of one item.
        items: Read as calls can begin.
        width: Calls at a time; 1 asks one after another in the caller's thread.

    Raises:
        ValueError: ``width`` is below 1.
    """
    if width < 1:
        raise ValueError(f"{width} calls at a time is too few; use 1 or more")
    if width == 1:
        yield from map(ask, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(width, thread_name_prefix="llm")
    try:
        for item in items:
            if len(waiting) == width:
                yield waiting.popleft().result()
            waiting.append(pool.submit(ask, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
