"""A provider that never shows its key, should a server send it back: in an error, an answer, or pieces of one."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import NoReturn

from stm_agent.errors import GenerationError
from stm_agent.llm.answer import Answer, Messages, Provider

HIDDEN = "***"
SHORTEST = 8
"""Characters from which on a key is hidden in answers. Servers of one's own take any word, such as ``none``, for a key,
and an answer may hold that word."""


class Quiet:
    """Answers as another provider does."""

    def __init__(self, provider: Provider, key: str) -> None:
        """Hide ``key`` in what ``provider`` answers and complains of."""
        self.provider, self._key = provider, key
        self._secret = key if len(key) >= SHORTEST else None

    def answer(self, messages: Messages, *, temperature: float, max_tokens: int, seed: int) -> Answer:
        """Answer a chat.

        Raises:
            GenerationError: As the provider does, without the key.
        """
        try:
            answer = self.provider.answer(messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        except GenerationError as error:
            self._hide(error)
        return self._masked(answer)

    def stream(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int
    ) -> Generator[str, None, Answer]:
        """Answer a chat piece by piece.

        Raises:
            GenerationError: As the provider does, without the key.
        """
        pieces = self.provider.stream(messages, temperature=temperature, max_tokens=max_tokens, seed=seed)
        held = ""
        try:
            while True:
                piece = next(pieces)
                # An empty piece says that the provider is asked again.
                shown, held = self._shown(held + piece) if piece else (piece, held)
                if shown or not piece:
                    yield shown
        except StopIteration as end:
            answer: Answer = end.value
        except GenerationError as error:
            self._hide(error)
        finally:
            pieces.close()
        if held:
            yield held
        return self._masked(answer)

    def close(self) -> None:
        """Free the provider."""
        self.provider.close()

    def _shown(self, text: str) -> tuple[str, str]:
        """Return what can be shown of a text, and its end, which may be the beginning of the key."""
        if self._secret is None:
            return text, ""
        text = text.replace(self._secret, HIDDEN)
        longest = min(len(text), len(self._secret) - 1)
        held = next((size for size in range(longest, 0, -1) if self._secret.startswith(text[-size:])), 0)
        return text[: len(text) - held], text[len(text) - held :]

    def _masked(self, answer: Answer) -> Answer:
        if self._secret is None:
            return answer
        reasoning = answer.reasoning and answer.reasoning.replace(self._secret, HIDDEN)
        return replace(answer, text=answer.text.replace(self._secret, HIDDEN), reasoning=reasoning)

    def _hide(self, error: GenerationError) -> NoReturn:
        # What the error came from is left behind as well: a traceback would show it.
        hidden = type(error)(str(error).replace(self._key, HIDDEN))
        # Why it was rejected, and how often it was tried.
        hidden.__dict__.update(error.__dict__)
        raise hidden from None
