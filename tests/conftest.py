"""One environment for every test: no network for prices, one thread for a model, one event loop that is closed."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Three processes run the tests on two cores (many tests wait), and tiny models gain nothing from more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_seen = 0
"""Modules that were loaded at the last freeze."""


@pytest.fixture(scope="session", autouse=True)
def event_loop_of_libraries() -> Iterator[None]:
    """Offer the loop that LiteLLM asks for in synchronous calls: it would make one and never close it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()


@pytest.fixture(autouse=True)
def modules_are_never_collected() -> None:
    """Take what a test imported out of the garbage collector's rounds: each would visit millions of objects again."""
    global _seen
    if len(sys.modules) - _seen > 100:
        _seen = len(sys.modules)
        gc.collect()
        gc.freeze()
