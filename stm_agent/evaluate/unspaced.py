"""Words of scripts that are written without spaces between them."""

from __future__ import annotations

import re

_LETTERS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
UNSPACED = re.compile(f"[{_LETTERS}]")
"""A letter of a script whose words are written without spaces: Thai, Lao, Burmese, Khmer, kana, ideographs, and Hangul,
where endings are attached to the word."""
_RUNS = re.compile(f"[{_LETTERS}]+")


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
