r"""Letters of all scripts: one form of a text to compare and to index, and which letters make a word.

Python's ``\w`` has no combining marks, so the vowel signs of Indic scripts break words; and the same text in composed
(NFC) and decomposed (NFD) Unicode shares no word with itself. Both are mended here, for BM25 and for comparisons alike.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain

_UNWRITTEN = re.compile(
    # Vowel points of Hebrew and Arabic, which most writers leave out, and the Arabic stroke that widens a word.
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4"
    "\u06e7\u06e8\u06ea-\u06ed\u08d3-\u08e1\u08e3-\u08ff"
    # Characters without a shape: soft hyphen, joiners, directions, variants.
    "\u00ad\u034f\u061c\u200c-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufe00-\ufe0f\ufeff]+"
)
_UNSPACED_LETTERS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
UNSPACED = re.compile(f"[{_UNSPACED_LETTERS}]")
"""A letter of a script whose words are written without spaces: Thai, Lao, Burmese, Khmer, kana, ideographs, and Hangul,
where endings are attached to the word."""
_RUNS = re.compile(f"[{_UNSPACED_LETTERS}]+")
_LAST_SCRIPT = 0x20000
"""Code point behind the last combining mark, apart from variation selectors."""


def canonical(text: str) -> str:
    """Return a text in NFC, without vowel points of Hebrew and Arabic and without characters that have no shape.

    ASCII stays as it is. The Turkish capital with a dot becomes a plain capital: Python's lower case of it is two
    characters, of which no other text has the second.
    """
    if text.isascii():
        return text
    return _UNWRITTEN.sub("", unicodedata.normalize("NFC", text)).replace("\u0130", "I")


@cache
def combining_marks() -> str:
    """Return all combining marks (categories Mn and Mc) as ranges for a character class of a regular expression."""
    marks = [code for code in range(0x300, _LAST_SCRIPT) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    starts = [code for previous, code in zip([0, *marks], marks, strict=False) if code != previous + 1]
    ends = [code for code, following in zip(marks, [*marks[1:], 0], strict=True) if following != code + 1]
    return "".join(chain.from_iterable((chr(start), "-", chr(end)) for start, end in zip(starts, ends, strict=True)))


@cache
def word_pattern() -> str:
    r"""Return the regular expression of a word of two characters or more; without marks it is ``\b\w\w+\b``."""
    marks = combining_marks()
    # A run of \w is fast, a class with hundreds of ranges is not.
    return rf"(?u)\w(?:\w+|[{marks}]+\w*)(?:[{marks}]+\w*)*"


def bigrams(text: str) -> tuple[str, list[str]]:
    """Return a text without its unspaced runs, and the letter bigrams of these; a single letter stays as it is.

    Bigrams need no dictionary of words and identify a meaning nearly as well (Nie et al. 2000, "On the use of words and
    n-grams for Chinese information retrieval").
    """
    if text.isascii():
        return text, []
    runs: list[str] = _RUNS.findall(text)
    if not runs:
        return text, []
    pairs = (run[start : start + 2] for run in runs for start in range(max(len(run) - 1, 1)))
    # Equal pairs share one object, since a text of 30 MB has ten million pairs.
    same: dict[str, str] = {}
    return _RUNS.sub(" ", text), [same.setdefault(pair, pair) for pair in pairs]
