"""A provider whose errors never show its key, should a server send it back."""

from __future__ import annotations

from collections.abc import Generator
from typing import NoReturn

from stm_agent.errors import GenerationError
from stm_agent.llm.answer import Answer, Messages, Provider


class Quiet:
    """Answers as another provider does."""

    def __init__(self, provider: Provider, key: str) -> None:
        """Hide ``key`` in what ``provider`` complains of."""
        self.provider, self._key = provider, key

    def answer(self, messages: Messages, *, temperature: float, max_tokens: int, seed: int) -> Answer:
        """Answer a chat.

        Raises:
            GenerationError: As the provider does, without the key.
        """
        try:
            return self.provider.answer(messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        except GenerationError as error:
            self._hide(error)

    def stream(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int
    ) -> Generator[str, None, Answer]:
        """Answer a chat piece by piece.

        Raises:
            GenerationError: As the provider does, without the key.
        """
        try:
            return (
                yield from self.provider.stream(messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
            )
        except GenerationError as error:
            self._hide(error)

    def close(self) -> None:
        """Free the provider."""
        self.provider.close()

    def _hide(self, error: GenerationError) -> NoReturn:
        # What the error came from is left behind as well: a traceback would show it.
        hidden = type(error)(str(error).replace(self._key, "***"))
        # Why it was rejected, and how often it was tried.
        hidden.__dict__.update(error.__dict__)
        raise hidden from None
