"""A language model that says what it is told: tests of programs and loops without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from stm_agent.errors import ConfigError, GenerationError
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import Answer, LlmClient, Messages

Script = Sequence[str] | Callable[[Messages], str]


def _numbered(messages: Messages) -> str:
    last = messages[-1]["content"]
    return f"a note on something else, number {sum(map(ord, last)) % 97}, near {' '.join(last.split()[-4:])}"


class ScriptedProvider:
    """Answers from a list, in order, or by a function of the messages; counts its calls."""

    def __init__(self, script: Script, *, usd: float = 0.0) -> None:
        """Take the answers and the price of each call."""
        self.script, self.usd, self.calls = script, usd, 0

    @classmethod
    def named(cls, name: str) -> ScriptedProvider:
        """Return a built-in script: ``numbered`` echoes the end of the last message with a number.

        Raises:
            ConfigError: There is no script of that name.
        """
        if name != "numbered":
            raise ConfigError(f"there is no script '{name}'; use scripted:numbered")
        return cls(_numbered)

    def answer(self, messages: Messages, *, temperature: float, max_tokens: int, seed: int) -> Answer:
        """Answer by the script.

        Raises:
            GenerationError: The list is used up.
        """
        self.calls += 1
        if callable(self.script):
            text = self.script(messages)
        elif self.calls <= len(self.script):
            text = self.script[self.calls - 1]
        else:
            raise GenerationError(f"the script has {len(self.script)} answers and was asked for one more; extend it")
        return Answer(text, sum(len(m["content"].split()) for m in messages), len(text.split()), self.usd)

    def stream(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int
    ) -> Generator[str, None, Answer]:
        """Answer by the script, word by word."""
        answer = self.answer(messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        yield from re.findall(r"\S+\s*", answer.text)
        return answer

    def close(self) -> None:
        """Nothing is held."""


def scripted(script: Script, folder: Path, *, usd: float = 0.0, budget: Budget | None = None) -> LlmClient:
    """Return a client with the real cache, ledger and budget, and a scripted model behind it."""
    provider = ScriptedProvider(script, usd=usd)
    return LlmClient(
        "scripted:test", provider, cache=folder / "llm", ledger=folder / "llm.jsonl", budget=budget or Budget()
    )
