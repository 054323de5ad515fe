"""A language model that answers from a script: tests of programs and loops without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from stm_agent.errors import ConfigError, GenerationError
from stm_agent.llm.answer import Answer, Messages
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.facts import ModelFacts
from stm_agent.llm.options import LlmOptions

Script = Sequence[str | Answer] | Callable[[Messages], str | Answer]
"""Answers in order, or a function of the chat. An ``Answer`` sets tokens, price and finish reason as well; the function
may raise what a provider raises."""
PREFERRED = (
    *("train-query-expert", "train-expert", "prepare-data", "merge", "write-queries", "distil"),
    *("continue-training", "search-instruction"),
)
"""Kinds of actions in the order in which script ``planner`` chooses them."""


def _numbered(messages: Messages) -> str:
    last = messages[-1]["content"]
    return f"a note on something else, number {sum(map(ord, last)) % 97}, near {' '.join(last.split()[-4:])}"


def _planner(messages: Messages) -> str:
    """Choose from a menu as ``programs/planner.py`` shows it: what usually gains most for its cost comes first."""
    lines = [line.strip() for line in messages[-1]["content"].splitlines()]
    menu = [line.partition(":")[0] for line in lines if line.startswith(PREFERRED)]
    return min(menu, key=lambda line: PREFERRED.index(line.split()[0]), default="stop")


def _gone(messages: Messages) -> str:
    raise GenerationError("scripted:gone cannot be reached; see whether its server runs")


class ScriptedProvider:
    """Answers from a list, in order, or by a function of the messages; counts its calls."""

    def __init__(self, script: Script, *, usd: float = 0.0) -> None:
        """Take the answers and the price of each call."""
        self.script, self.usd, self.calls = script, usd, 0

    @classmethod
    def named(cls, name: str) -> ScriptedProvider:
        """Return a built-in script.

        ``numbered`` echoes the end of the last message with a number; ``planner`` chooses from the menu of a planner;
        ``gone`` is a server that nobody answers at.

        Raises:
            ConfigError: No script has that name.
        """
        scripts = {"numbered": _numbered, "planner": _planner, "gone": _gone}
        if name not in scripts:
            raise ConfigError(
                f"script '{name}' does not exist; use {' or '.join(f'scripted:{known}' for known in scripts)}"
            )
        return cls(scripts[name])

    def answer(self, messages: Messages, *, temperature: float, max_tokens: int, seed: int) -> Answer:
        """Answer by the script.

        Raises:
            GenerationError: The list is used up.
        """
        self.calls += 1
        if callable(self.script):
            scripted_answer = self.script(messages)
        elif self.calls <= len(self.script):
            scripted_answer = self.script[self.calls - 1]
        else:
            raise GenerationError(f"the script has {len(self.script)} answers and was asked for one more; extend it")
        if isinstance(scripted_answer, Answer):
            return scripted_answer
        text = scripted_answer
        return Answer(text, sum(len(m["content"].split()) for m in messages), len(text.split()), self.usd)

    def stream(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int
    ) -> Generator[str, None, Answer]:
        """Answer by the script, word by word."""
        answer = self.answer(messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        yield from re.findall(r"\S+\s*", answer.text)
        return answer

    def close(self) -> None:
        """Do nothing: no resource is held."""


def scripted(
    script: Script,
    folder: Path,
    *,
    usd: float = 0.0,
    budget: Budget | None = None,
    options: LlmOptions | None = None,
    facts: ModelFacts | None = None,
) -> LlmClient:
    """Return a client with the real cache, ledger and budget, and a scripted model behind it.

    Args:
        script: The answers.
        folder: Holds the cache ``llm`` and the ledger ``llm.jsonl``.
        usd: Price of each call.
        budget: Ceiling; None: none.
        options: Options whose model name the client shows; None: ``scripted:test``.
        facts: Price, context and headroom of the model.
    """
    return LlmClient(
        options or LlmOptions(model="scripted:test"),
        ScriptedProvider(script, usd=usd),
        cache=folder / "llm",
        ledger=folder / "llm.jsonl",
        budget=budget or Budget(),
        facts=facts,
    )
