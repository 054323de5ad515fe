"""Whether a tokenizer reads texts: how many of their letters are unknown to it, and in how many pieces the others come.

A model ranks by what its tokenizer knows. Words of a script that it does not know become one unknown token, or fall
apart into single letters, of which it learnt nothing.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stm_agent.domain.measures import sample, tokenizer_at_hand
from stm_agent.domain.scripts import script_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXTS, LETTERS = 200, 2000
"""Texts that are tokenised, and characters read of each."""
UNKNOWN = 0.1
"""Share of the letters in unknown tokens above which a text is hardly read: with all-MiniLM-L6-v2 0.75 of Chinese, 0.29
of Japanese, 0.42 of Korean, all of Thai, and none of ten languages of Latin script."""
PIECES = 0.7
"""Tokens a letter above which words fall apart: with all-MiniLM-L6-v2 0.30 in English, 0.37 to 0.53 in languages of
Latin script that it was not trained on (SmolLM2 up to 0.64) and in names of genes, 0.8 in Hindi, and 0.98 to 1.0 in
Arabic, Greek, Hebrew and Russian, of which it knows every letter and hardly a word."""
SYLLABLES = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
"""Scripts of which one letter is a syllable or a word."""
SYLLABLE_PIECES = 1.3
"""The same limit for these: a token for each letter is usual there."""
WAY_ON = (
    "name an encoder of this language, or a multilingual one, with --start (such as intfloat/multilingual-e5-small)"
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a tokenizer reads a sample of texts.

    Attributes:
        unknown: Share of the letters that lie in unknown tokens, 0 to 1.
        pieces: Tokens a letter, unknown tokens and those without a letter left out; 0.0: none is known.
        usual: Tokens a letter up to which the script of most letters is read.
    """

    unknown: float
    pieces: float
    usual: float

    @property
    def fault(self) -> str:
        """Return why the texts are hardly read; empty: they are read."""
        if self.unknown > UNKNOWN:
            return f"{self.unknown:.0%} of their letters are unknown to its tokenizer"
        if self.pieces > self.usual:
            return f"its tokenizer takes their words apart, into {self.pieces:.1f} tokens a letter"
        return ""

    def warning(self, model: str) -> str:
        """Return one line on a model that hardly reads the texts, with the way on; empty: it reads them."""
        return f"{model} hardly reads these texts: {self.fault}; {WAY_ON}" if self.fault else ""


def reading_of(texts: Sequence[str], tokenizer: Tokenizer | None = None) -> Reading | None:
    """Measure on a sample of texts how a tokenizer reads them.

    Args:
        texts: Passages.
        tokenizer: Of the model; None: of the embedded encoder.

    Returns:
        None: the texts have no letters, or the embedded encoder is not on this machine.
    """
    tokenizer = tokenizer or tokenizer_at_hand()
    chosen = [text[:LETTERS] for text in sample(texts, TEXTS)]
    letters = Counter(letter for text in chosen for letter in text if _is_letter(letter))
    total = letters.total()
    if tokenizer is None or not total:
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lost, pieces = _counted(tokenizer, chosen)
    syllables = sum(count for letter, count in letters.items() if script_of(letter) in SYLLABLES)
    usual = SYLLABLE_PIECES if 2 * syllables > total else PIECES
    return Reading(unknown=lost / total, pieces=pieces / max(total - lost, 1), usual=usual)


def _counted(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[int, int]:
    """Return the letters in unknown tokens, and the number of other tokens with a letter."""
    unknown, lost, pieces = _unknown_token(tokenizer), 0, 0
    for text, row in zip(texts, tokenizer.encode_batch(list(texts), add_special_tokens=False), strict=True):
        for token, (begin, end) in zip(row.tokens, row.offsets, strict=True):
            count = sum(map(_is_letter, text[begin:end]))
            if token == unknown:
                lost += count
            elif count:
                pieces += 1
    return lost, pieces


def _is_letter(character: str) -> bool:
    """Return whether a character is a letter, or a mark that belongs to one, as vowels of Devanagari do."""
    return unicodedata.category(character)[0] in "LM"


def _unknown_token(tokenizer: Tokenizer) -> str | None:
    """Return the token that stands for what a tokenizer does not know; None: it knows every byte."""
    model = tokenizer.model
    unknown = getattr(model, "unk_token", None)
    if unknown is None and (number := getattr(model, "unk_id", None)) is not None:
        unknown = tokenizer.id_to_token(number)
    return unknown
