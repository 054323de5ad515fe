"""Generic instructions by the dozen, written by an LLM: STM's GP variant (arXiv 2602.04731), as candidates."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stm_agent.errors import GenerationError
from stm_agent.instruct.trials import Trials

if TYPE_CHECKING:
    from stm_agent.llm.client import Completion, LlmClient

logger = logging.getLogger(__name__)
AT_ONCE = 5
"""Instructions asked for in one call: more, and a small LLM repeats itself."""
PATIENCE = 3
"""Calls in a row without a usable line after which the LLM has nothing more to say."""
NUMBERING = re.compile(r"^\s*(?:\d+[.):]|[-*•])\s*")


@dataclass(frozen=True)
class Pool:
    """A :class:`~stm_agent.instruct.proposers.Proposer` of generic instructions.

    Attributes:
        client: The LLM.
        task: The domain's task.
        count: Instructions wanted.
    """

    client: LlmClient
    task: str
    count: int

    def propose(self, trials: Trials) -> None:
        """Ask until ``count`` are usable, the LLM repeats itself, or the budget is spent."""
        made, barren = 0, 0
        for completion in _answers(self.client, self.task):
            fresh = 0
            for line in completion.text.splitlines():
                text = NUMBERING.sub("", line).strip("\"'*` ")
                if made < self.count and text and trials.offer(trials.saying(text, "pool"), written=completion):
                    made, fresh = made + 1, fresh + 1
            barren = 0 if fresh else barren + 1
            if made == self.count:
                return
            if barren == PATIENCE:
                logger.warning("instruction pool: %d of %d, the LLM repeats itself", made, self.count)
                return


def _answers(client: LlmClient, task: str) -> Iterator[Completion]:
    system = "You write one-sentence instructions that stand in front of search queries."
    user = f"Task: {task}\nWrite {AT_ONCE} different instructions for it, each at most twenty words, one on a line."
    chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    rollout = 0
    while True:
        try:
            yield client.complete(chat, rollout=rollout)
        except GenerationError as error:
            logger.warning("instruction pool ended: %s", error)
            return
        rollout += 1
