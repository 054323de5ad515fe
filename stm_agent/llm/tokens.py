"""Rough token counts without a tokenizer, and texts cut at a sentence to a number of tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

PER_MESSAGE = 8
"""Tokens that a chat template puts around one message, at most."""
_SENTENCE_END = re.compile(r"[.!?…]['\"»”)]*(?=\s)|[。\uff01\uff1f]|\n+")


def rough_tokens(text: str) -> int:
    """Estimate the tokens of a text, rather too many than too few.

    English has about 4 letters to a token; digits and marks are a token each, and byte-level vocabularies made for
    English spend two or three tokens on an ideograph.
    """
    letters = sum(character.isascii() and (character.isalpha() or character == " ") for character in text)
    other = sum(character.isascii() for character in text) - letters
    foreign = len(text.encode()) - letters - other
    return int(letters / 3 + other * 1.2 + foreign / 1.2) + 1


def chat_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """Estimate the tokens of a chat."""
    return sum(rough_tokens(message["content"]) + PER_MESSAGE for message in messages)


def cut_at_sentence(text: str, tokens: int) -> str:
    """Return the longest beginning of a text that ends with a sentence and has at most ``tokens`` tokens.

    A text whose first sentence is longer is cut at a word, or, without spaces, at a letter.
    """
    if rough_tokens(text) <= tokens:
        return text
    # No letter takes less than a third of a token.
    low, high = 0, min(len(text), 3 * tokens)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if rough_tokens(text[:middle]) <= tokens else (low, middle - 1)
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, low + 1) if match.end() <= low]
    # A sentence that ends in the first half would throw away more than the cut has to.
    if ends and ends[-1] >= low // 2:
        return text[: ends[-1]].rstrip()
    space = text.rfind(" ", low // 2, low)
    return text[: space if space > 0 else low].rstrip()
