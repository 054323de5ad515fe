"""An instruction and the prefixes it makes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stm_agent.backbone.prompts import Prompts, passage_prompt, query_prompt
from stm_agent.errors import ConfigError

LONGEST = 400


@dataclass(frozen=True)
class Instruction:
    """What stands in front of a query and of a passage.

    Attributes:
        query: Instruction for queries; empty is none.
        passage: Instruction for passages; empty is none.
        origin: Where it comes from: ``none``, ``seed:<id>``, ``pool``, ``reflection``, ``copro`` or ``mipro``.
        query_prompt: The checkpoint's own prompt for queries, used as it is where there is no instruction.
        passage_prompt: The same for passages.
    """

    query: str = ""
    passage: str = ""
    origin: str = "none"
    query_prompt: str = ""
    passage_prompt: str = ""

    @classmethod
    def none(cls, prompts: Prompts) -> Instruction:
        """Return the candidate without an instruction: only the checkpoint's own prompts."""
        return cls(query_prompt=query_prompt(prompts), passage_prompt=passage_prompt(prompts))

    def saying(self, query: str, origin: str) -> Instruction:
        """Return this with another instruction for queries; empty leaves the checkpoint's own prompt."""
        return replace(self, query=query, origin=origin)

    def framing(self, passage: str, origin: str) -> Instruction:
        """Return this with another instruction for passages; empty leaves the checkpoint's own prompt."""
        return replace(self, passage=passage, origin=origin)

    @property
    def texts(self) -> tuple[str, str]:
        """What tells two candidates apart: the instruction for queries and the one for passages."""
        return self.query, self.passage

    def unsaid(self) -> Instruction:
        """Return only the checkpoint's own prompts."""
        return Instruction(query_prompt=self.query_prompt, passage_prompt=self.passage_prompt)

    @property
    def query_prefix(self) -> str:
        """Text in front of a query, in STM's format (arXiv 2602.04731): instruction, new line, ``Query: ``."""
        return f"{self.query}\nQuery: " if self.query else self.query_prompt

    @property
    def passage_prefix(self) -> str:
        """Text in front of a passage."""
        return f"{self.passage}\npassage: " if self.passage else self.passage_prompt


def checked(text: str) -> str:
    """Return an instruction's text trimmed.

    Raises:
        ConfigError: It is empty, too long, or holds control characters.
    """
    text = " ".join(text.split(" ")).strip()
    if not text:
        raise ConfigError("an instruction is empty; leave it out or write one")
    if len(text) > LONGEST:
        raise ConfigError(f"an instruction has {len(text)} characters, {LONGEST} are allowed: {text[:60]}...")
    if any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise ConfigError("an instruction holds bytes that are no UTF-8 text; write it anew")
    if any(ord(letter) < 32 for letter in text):
        raise ConfigError(f"an instruction holds a line break or a control character: {text[:60]!r}")
    return text
