"""Decide whether a cleaned text of an LLM can become data, and say why not in a few words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stm_agent.domain.scripts import LanguageProfile, has_unspaced, units
from stm_agent.llm.answer import CUT_OFF, EMPTY, REFUSAL
from stm_agent.llm.text import Kind

TOO_SHORT = "too short"
LANGUAGE = "another language"
REPEATS = "repeats its input"
FORMAT = "not in the asked format"

NEAR_DUPLICATE = 0.9
"""Share of common words (Jaccard) from which a text repeats another one."""
COPIED_RUN = 8
"""Words in a row that a text may share with its input; a text that is nothing but a longer run is a copy."""
COPIED_SHARE = 0.8
"""Share of a text's words, in one run of its source, from which the text counts as copied."""
FEWEST_COPIED = 3
"""Words below which a text is too short to be called copied."""
_SEPARATOR = "\0"
PASSAGE_WORDS = 3
PASSAGE_LETTERS = 6
"""Fewest words of a passage, and letters if its script has no spaces, unless its model is as short."""

_CANNOT = r"cannot|can't|can not|won't|will not|am unable to|am not able to|'m unable to|'m not able to"
_REFUSALS = re.compile(
    r"^\W*(?:"
    r"(?:i'?m|i am) (?:\w+ )?sorry\b[,.]? ?(?:but|i\b|that i)"
    r"|(?:sorry|apologies|unfortunately|i apologi[sz]e|my apologies)\b[,.]? (?:but |for [^.]{0,60}[,.] ?)?(?:but )?i\b"
    rf"|i ?(?:really )?(?:{_CANNOT})"
    r" (?:help|assist|provide|write|generate|create|fulfil|comply|answer|do|produce|complete|continue|share|offer)"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)\b[^.]{0,30}?,? i\b"
    r"|je suis désolée?\b|désolée?,|lo siento\b|es tut mir leid\b|entschuldigung, aber|mi dispiace\b|desculpe,"
    r"|к сожалению, я|извините,|很?抱歉|对不起|對不起|申し訳(?:ありません|ございません)|죄송합니다|죄송하지만"
    r")",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TextCheck:
    """What a text of an LLM must be to become data.

    Attributes:
        kind: ``query``, ``passage`` or ``instruction``.
        unlike: Texts it must not repeat: the query and the positive it was written for.
        profile: Scripts and languages of the corpus; None: any is fine.
        model_text: A text of the kind wanted, for example the positive: a passage may be as short.
    """

    kind: Kind
    unlike: Sequence[str] = ()
    profile: LanguageProfile | None = None
    model_text: str = ""

    def fault(self, text: str, finish_reason: str | None = None) -> str | None:
        """Return why a cleaned text cannot be used; None: it can.

        Args:
            text: What :func:`~stm_agent.llm.text.clean_text` returned.
            finish_reason: Why the model stopped; ``length``: before its end.
        """
        words = units(text)
        if finish_reason == "length":
            return CUT_OFF
        if not words:
            return EMPTY
        if _REFUSALS.search(text.replace("\u2019", "'")):
            return REFUSAL
        if text[0] in "{[" and re.match(r"[{\[]\s*[\"'{\[]", text):
            return FORMAT
        if self._too_short(text, words):
            return TOO_SHORT
        if self.profile is not None and self.profile.is_foreign(text):
            return LANGUAGE
        return REPEATS if any(repeats(text, other) for other in self.unlike) else None

    def _too_short(self, text: str, words: Sequence[str]) -> bool:
        letters = sum(character.isalnum() for character in text)
        if has_unspaced(text):
            return self.kind == "passage" and letters < min(PASSAGE_LETTERS, _letters(self.model_text, letters=True))
        if self.kind != "passage":
            return letters < 2
        return len(words) < min(PASSAGE_WORDS, _letters(self.model_text, letters=False))


def _letters(model_text: str, *, letters: bool) -> int:
    if not model_text:
        return PASSAGE_LETTERS
    return sum(character.isalnum() for character in model_text) if letters else len(units(model_text))


def repeats(text: str, other: str) -> bool:
    """Return whether a text has the same words as another one, or is nothing but a long piece of it, or holds it whole.

    Words are compared in lower case; of scripts without spaces, pairs of neighbouring letters.
    """
    mine, theirs = units(text), units(other)
    if not mine or not theirs:
        return False
    ours, common = set(mine) | set(theirs), set(mine) & set(theirs)
    if len(common) >= NEAR_DUPLICATE * len(ours):
        return True
    return _holds(theirs, mine) or _holds(mine, theirs)


def copied_share(text: str, source: str) -> float:
    """Return the longest run of words that a text has from its source, as a share of the text's words; 0.0 for none.

    Of scripts without spaces, pairs of neighbouring letters are the words.
    """
    mine, theirs = units(text), units(source)
    if not mine or not theirs:
        return 0.0
    longest, before = 0, [0] * (len(theirs) + 1)
    for word in mine:
        row = [0] * (len(theirs) + 1)
        for place, other in enumerate(theirs, 1):
            if word == other:
                row[place] = before[place - 1] + 1
                longest = max(longest, row[place])
        before = row
    return longest / len(mine)


def is_copied(text: str, source: str) -> bool:
    """Return whether a text is mostly one run of words of its source: such a text teaches little that words do not."""
    words = len(units(text))
    return words >= FEWEST_COPIED and copied_share(text, source) >= COPIED_SHARE


def _holds(whole: Sequence[str], part: Sequence[str]) -> bool:
    if len(part) < COPIED_RUN:
        return False
    # A separator that is in no word, so that words meet as a whole.
    return f"{_SEPARATOR}{_SEPARATOR.join(part)}{_SEPARATOR}" in f"{_SEPARATOR}{_SEPARATOR.join(whole)}{_SEPARATOR}"
