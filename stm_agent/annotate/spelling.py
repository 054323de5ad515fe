"""Words as they stand in texts: in any case, in letters that fold to others, and in scripts that have no spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache

from typing_extensions import TypedDict

from stm_agent.evaluate.unspaced import UNSPACED

WORD = re.compile(r"\w+")
MARKS = "\u0300-\u036f"
"""Accents that stand behind their letter, as in texts from PDFs and macOS (NFD)."""
BEGINS, ENDS = r"(?<!\w)", rf"(?![\w{MARKS}])"
"""Where a word begins and ends: an accent behind a letter is a part of it."""
STEM = 5
"""Letters from which on a word is marked in all its endings."""
SNIPPET = 200
MARKED_WORDS = 64
"""Largest number of words that are marked: the time to mark a text is the product of its length and their number."""


def composed(text: str) -> str:
    """Return a text with letters and their accents as one character each (NFC), as keyboards write them."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """Return a text in which case, and how accents are written, make no difference."""
    return composed(composed(text).casefold())


def holding(texts: Mapping[str, str], words: str) -> list[str]:
    """Return the keys of the folded texts that hold each of the words as it is typed, whatever is around it."""
    keys = list(texts)
    # The longest is mostly the rarest: the others are looked for where it is.
    for word in sorted(set(folded(words).split()), key=len, reverse=True):
        keys = [key for key in keys if word in texts[key]]
    return keys


@lru_cache(maxsize=2000)
def whole_word(word: str) -> re.Pattern[str]:
    """Return the pattern of a whole word; ``re`` itself caches fewer than one search may exclude."""
    return re.compile(rf"\b{re.escape(word)}\b")


class Snippet(TypedDict):
    """A part of a text, the hits in it, and whether it is cut at its beginning and at its end."""

    text: str
    hits: list[tuple[int, int]]
    cut: tuple[bool, bool]


def snippet(text: str, words: str) -> Snippet:
    """Return the part of a text around its first hit, and where its hits are: ``[start, end)`` in that part.

    It is text, never markup: a page shows it as it is.
    """
    marks = _marks(words)
    if (first := marks.search(text)) is None:
        marks = _marks(words, inside=True)
        first = marks.search(text)
    begin = max(0, first.start() - SNIPPET // 4) if first else 0
    part = text[begin : begin + SNIPPET]
    # Only what is shown is looked through: a text may have millions of hits.
    ends = begin + SNIPPET
    hits = (found.span() for found in marks.finditer(text, begin, ends + 1))
    inside = [(start - begin, end - begin) for start, end in hits if end <= ends]
    return {"text": part, "hits": inside, "cut": (begin > 0, ends < len(text))}


@lru_cache(maxsize=64)
def _marks(words: str, *, inside: bool = False) -> re.Pattern[str]:
    """Return what is marked in a text for the words that were typed.

    A word is marked as a whole, one of five letters or more in all its endings; where words are written together it is
    marked inside of others, as with ``inside`` every word is.
    """
    parts: list[str] = []
    for typed in folded(words).split():
        if UNSPACED.search(typed) or (inside and len(typed) > 2):
            parts.append(_spelled(typed))
        elif not inside:
            whole = (word for word in WORD.findall(typed) if len(word) > 2)
            parts += [
                rf"{BEGINS}{_spelled(word, STEM)}[\w{MARKS}]*"
                if len(word) >= STEM
                else rf"{BEGINS}{_spelled(word)}{ENDS}"
                for word in whole
            ]
    return re.compile("|".join(list(dict.fromkeys(parts))[:MARKED_WORDS]) or "(?!)", re.I)


def _spelled(word: str, least: int | None = None) -> str:
    """Return the pattern of a folded word, or of so many of its first letters, also in letters that fold to several.

    A pattern that ignores case knows those that fold to one; ``strasse`` is also to find Straße.
    """
    wide = _wide()
    pattern, letters = "", 0
    for part in re.findall("|".join([*sorted(wide, key=len, reverse=True), "."]), word):
        if least is not None and letters >= least:
            break
        pattern += f"(?:{part}|[{wide[part]}])" if part in wide else _either(part)
        letters += len(part)
    return pattern


def _either(letter: str) -> str:
    """Return the pattern of a letter, also as its parts: a letter and the accents behind it."""
    parts = unicodedata.normalize("NFD", letter)
    return re.escape(letter) if parts == letter else f"(?:{re.escape(letter)}|{re.escape(parts)})"


@cache
def _wide() -> dict[str, str]:
    """Return what single letters fold to that is longer than they are, and which letters these are."""
    found: dict[str, str] = {}
    for letter in map(chr, range(0x10000)):
        folded = letter.casefold()
        if len(folded) > 1:
            found[folded] = found.get(folded, "") + letter
    return found
