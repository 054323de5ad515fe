"""Generic instructions by the dozen, written by an LLM: STM's GP variant (arXiv 2602.04731), as candidates."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from stm_agent.errors import GenerationError

if TYPE_CHECKING:
    from stm_agent.llm.door import Completion, Door

logger = logging.getLogger(__name__)
AT_ONCE = 5
"""Instructions asked for in one call: more, and a small LLM repeats itself."""
PATIENCE = 3
"""Calls in a row without a usable line after which the LLM has nothing more to say."""
NUMBERING = re.compile(r"^\s*(?:\d+[.):]|[-*•])\s*")


def write_pool(door: Door, *, task: str, count: int, usable: Callable[[str, Completion], bool]) -> None:
    """Ask for instructions until ``count`` are usable, the LLM repeats itself, or the budget is spent.

    Args:
        door: The LLM.
        task: The domain's task.
        count: Instructions wanted.
        usable: Takes a line and its completion; returns whether it is a new candidate.
    """
    made, barren = 0, 0
    for completion in _answers(door, task):
        fresh = 0
        for line in completion.text.splitlines():
            text = NUMBERING.sub("", line).strip("\"'*` ")
            if made < count and text and usable(text, completion):
                made, fresh = made + 1, fresh + 1
        barren = 0 if fresh else barren + 1
        if made == count:
            return
        if barren == PATIENCE:
            logger.warning("instruction pool: %d of %d, the LLM repeats itself", made, count)
            return


def _answers(door: Door, task: str) -> Iterator[Completion]:
    system = "You write one-sentence instructions that stand in front of search queries."
    user = f"Task: {task}\nWrite {AT_ONCE} different instructions for it, each at most twenty words, one on a line."
    chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    rollout = 0
    while True:
        try:
            yield door.complete(chat, rollout=rollout)
        except GenerationError as error:
            logger.warning("instruction pool ended: %s", error)
            return
        rollout += 1
