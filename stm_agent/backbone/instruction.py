"""A retrieval instruction and the prefixes made from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stm_agent.backbone.prompts import Prompts, passage_prompt, query_prompt
from stm_agent.errors import ConfigError

LONGEST = 400
"""Largest number of characters of an instruction; every query pays for its tokens."""


@dataclass(frozen=True)
class Instruction:
    """The texts in front of queries and passages.

    Attributes:
        query: Instruction for queries; empty means none.
        passage: Instruction for passages; empty means none.
        origin: Where it comes from: ``none``, ``seed:<id>``, ``pool``, ``reflection``, ``copro`` or ``mipro``.
        query_prompt: The checkpoint's own prompt for queries, used unchanged without an instruction.
        passage_prompt: The same for passages.
    """

    query: str = ""
    passage: str = ""
    origin: str = "none"
    query_prompt: str = ""
    passage_prompt: str = ""

    @classmethod
    def none(cls, prompts: Prompts) -> Instruction:
        """Return the candidate with only the checkpoint's own prompts."""
        return cls(query_prompt=query_prompt(prompts), passage_prompt=passage_prompt(prompts))

    def saying(self, query: str, origin: str) -> Instruction:
        """Return a copy with another instruction for queries; an empty one leaves the checkpoint's own prompt."""
        return replace(self, query=query, origin=origin)

    def framing(self, passage: str, origin: str) -> Instruction:
        """Return a copy with another instruction for passages; an empty one leaves the checkpoint's own prompt."""
        return replace(self, passage=passage, origin=origin)

    def with_texts_of(self, other: Instruction) -> Instruction:
        """Return a copy with the instructions of another candidate and the own prompts of this checkpoint."""
        return replace(self, query=other.query, passage=other.passage, origin=other.origin)

    @property
    def texts(self) -> tuple[str, str]:
        """The instruction for queries and the one for passages; candidates with equal texts are the same."""
        return self.query, self.passage

    def unsaid(self) -> Instruction:
        """Return a copy without instructions, with the checkpoint's own prompts."""
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
        ConfigError: The text is empty, too long, or contains control characters.
    """
    text = " ".join(text.split(" ")).strip()
    if not text:
        raise ConfigError("an instruction is empty; leave it out or write one")
    if len(text) > LONGEST:
        raise ConfigError(f"an instruction has {len(text)} characters, {LONGEST} are allowed: {text[:60]}...")
    if any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise ConfigError("an instruction contains bytes that are not UTF-8; write it again")
    if any(ord(letter) < 32 for letter in text):
        raise ConfigError(f"an instruction contains a line break or a control character: {text[:60]!r}")
    return text


NO_INSTRUCTION = Instruction()
"""Nothing in front of queries and passages."""
