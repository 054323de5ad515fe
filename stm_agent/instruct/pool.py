"""Generic instructions written by an LLM: STM's GP variant (arXiv 2602.04731), as candidates."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stm_agent.errors import AnswerRejected
from stm_agent.instruct.trials import Trials
from stm_agent.llm.checking import TextCheck
from stm_agent.llm.text import text_lines

if TYPE_CHECKING:
    from stm_agent.llm.answer import Completion
    from stm_agent.llm.client import LlmClient

logger = logging.getLogger(__name__)
PER_CALL = 5
"""Instructions asked for in one call: asked for more, a small LLM repeats itself."""
BARREN_CALLS = 3
"""Calls in a row without a usable line after which the LLM is not asked again."""


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
        """Ask until ``count`` are usable or the LLM repeats itself."""
        made, barren = 0, 0
        for completion in _answers(self.client, self.task, trials):
            fresh = self._offer(trials, completion, self.count - made) if completion else 0
            made, barren = made + fresh, 0 if fresh else barren + 1
            if made == self.count:
                return
            if barren == BARREN_CALLS:
                logger.warning("instruction pool: %d of %d usable, then none in %d calls", made, self.count, barren)
                return

    def _offer(self, trials: Trials, completion: Completion, wanted: int) -> int:
        """Offer the lines of an answer until ``wanted`` were tried; return how many were."""
        lines, tried = text_lines(completion.text), 0
        if completion.finish_reason == "length":
            # The last line is cut off; those before it are whole.
            lines = lines[:-1]
        for line in lines:
            if tried < wanted:
                candidate, fault = trials.saying(line, "pool"), TextCheck("instruction").fault(line)
                tried += trials.offer(candidate, written=completion, fault=fault) is not None
        return tried


def _answers(client: LlmClient, task: str, trials: Trials) -> Iterator[Completion | None]:
    """Yield answers without end, None for one that was rejected.

    Raises:
        GenerationError: The LLM or its budget gives out.
    """
    system = "You write one-sentence instructions that stand in front of search queries."
    user = f"Task: {task}\nWrite {PER_CALL} different instructions for it, each at most twenty words, one on a line."
    chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    rollout = 0
    while True:
        try:
            yield client.complete(chat, rollout=rollout)
        except AnswerRejected as error:
            trials.rejected[error.reason] += 1
            yield None
        rollout += 1
