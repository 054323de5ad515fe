"""An LLM's answer while it comes: heard piece by piece, left at any moment, and what had come by then."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from stm_agent.annotate import answers
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import Block
from stm_agent.annotate.services.ceilings import partial_usd
from stm_agent.errors import StmAgentError
from stm_agent.llm.text import visible_text, without_thoughts

if TYPE_CHECKING:
    from stm_agent.llm.answer import Completion
    from stm_agent.llm.client import LlmClient


class Settings(TypedDict):
    """How a block wants an LLM asked."""

    temperature: float
    max_tokens: int


@dataclass(frozen=True)
class Ask:
    """One call for a block's draft, with the block's own temperature and token limit; no entry: none is there yet."""

    entry_key: str | None
    block: Block
    model: str
    chat: list[dict[str, str]]
    rollout: int

    @property
    def settings(self) -> Settings:
        """How the block wants it asked."""
        return {"temperature": self.block.temperature, "max_tokens": self.block.max_tokens}

    @property
    def parameters(self) -> dict[str, object]:
        """What decides the answer beside the chat."""
        return {**self.settings, "sample": self.rollout}

    def of(self, door: LlmClient) -> Hearing:
        """Ask."""
        # A person asks: an answer that was rejected before is paid for again.
        stream = door.stream(self.chat, rollout=self.rollout, again=True, **self.settings)
        return Hearing(stream, partial(partial_usd, door, self.chat))


@dataclass(frozen=True)
class Came:
    """What came of an ask: the whole answer, or its text until it failed or was stopped; without the LLM's thoughts.

    ``partial_usd`` is the estimated cost of one that was stopped, in US dollars.
    """

    text: str
    done: Completion | None
    error: str = ""
    partial_usd: float | None = None

    @property
    def state(self) -> str:
        """``offered``, ``failed`` or ``stopped``."""
        if self.error:
            return "failed"
        return "stopped" if self.done is None else "offered"

    @property
    def cut(self) -> bool:
        """Whether the answer was cut off at its token limit."""
        return self.done is not None and self.done.finish_reason == "length"

    def fitting(self, block: Block) -> Came:
        """Return it as failed if it is whole and cannot be the block's value.

        A text that was cut off can be: a person sees that and completes it. What is chosen from an answer that was cut
        off may not be what the answer would have come to.
        """
        if self.done is None:
            return self
        if self.cut and (not self.text.strip() or block.type not in ("text", "longtext")):
            return replace(self, error=f"the answer was cut off at {block.max_tokens} tokens; raise the block's limit")
        try:
            answers.fitted(block, self.text)
        except Invalid as fault:
            return replace(self, error=str(fault))
        return self


def answer_of(text: str) -> str:
    """Return an LLM's text without its thoughts, as it is if there are none."""
    return without_thoughts(text) if "<" in text else text


@dataclass
class Hearing:
    """An answer on its way.

    Attributes:
        stream: Yields its pieces.
        cost: Returns the estimated cost of a text that came before the answer was left.
        came: What has come so far, thoughts included until it is left.
        asked: Whether the LLM was asked.
        left: Whether nobody reads it any more.
        shown: The text that :meth:`visible` has returned.
    """

    stream: Generator[str, None, Completion]
    cost: Callable[[str], float | None]
    came: Came = field(default_factory=lambda: Came("", None))
    asked: bool = False
    left: bool = False
    shown: str = ""

    def visible(self) -> str:
        """Return what can be shown since the last time: nothing of thoughts, nor of a tag that has only begun."""
        text = self.came.text
        text = visible_text(text) if "<" in text else text.lstrip()
        if not text.startswith(self.shown):
            # A thought that began without a tag has ended; the whole answer will take the place of all.
            return ""
        fresh, self.shown = text[len(self.shown) :], text
        return fresh

    def next(self) -> str | None:
        """Wait for the next piece (an empty one: the LLM is about to be tried again); None at the end."""
        self.asked = True
        try:
            piece = next(self.stream)
        except StopIteration as end:
            self.came = Came(answer_of(end.value.text), end.value)
        except StmAgentError as fault:
            self.came = replace(self.came, error=str(fault))
        else:
            self.came = replace(self.came, text=self.came.text + piece)
            if self.left:
                self._close()
            return piece
        return None

    def leave(self) -> Came:
        """Hear no more of it; return what came. A thread that waits for a piece ends with that piece."""
        came = self.came
        self.left = True
        self._close()
        if came.done is not None:
            return came
        usd = self.cost(came.text) if self.asked and not came.error else None
        return replace(came, text=answer_of(came.text), partial_usd=usd)

    def _close(self) -> None:
        # It cannot be closed while a thread waits in it for a piece; that thread closes it once it is out.
        with suppress(ValueError):
            self.stream.close()

    def whole(self, stopped: Callable[[], bool]) -> Came:
        """Wait for the whole answer; one that has ``stopped`` being wanted is not asked for again."""
        while (piece := self.next()) is not None:
            if not piece and stopped():
                break
        return self.leave()
