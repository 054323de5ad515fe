"""What an LLM's answer says: a value of a block's type, or a grade; an answer that does not say it is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import Block, ProjectSchema
from stm_agent.annotate.values import BlockValue, checked_value

DAY = re.compile(r"(?<![\w-])[0-9]{4}-[0-9]{2}-[0-9]{2}(?![\w-])")
GRADE = re.compile(r"(?<![\w.])(?<!(?<![0-9])-)[0-9]{1,3}(?!\w|[.,][0-9])")
ENDS = r"(?=\W*$|\s*[.:;!]|\s*\n|\s+[-\u2013\u2014(])"
"""What stands after an answer that a reason follows."""
DENIAL = re.compile(r"\b(?:not|no|never|neither|nor|none|cannot|\w+n['\u2019]t)\b", re.IGNORECASE)
"""Words after which a named option may be the one that does not fit."""
SENTENCE = re.compile(r"[.;!?\n]")
MARKUP = " \t\n\"'`*_([\u201c\u2018"


def fitted(block: Block, answer: str) -> BlockValue:
    """Return an answer as the block holds it.

    Raises:
        Invalid: It cannot be read as the block's type.
    """
    value = _read(block, answer.strip())
    try:
        if value is not None:
            return checked_value(block, value)
    except ValueError:
        pass
    raise Invalid(f"the answer is not a {block.type} for '{block.name}': {answer.strip()[:80]!r}")


def _read(block: Block, text: str) -> BlockValue | None:
    match block.type:
        case "text":
            return " ".join(text.split()) or None
        case "longtext":
            return text or None
        case "select":
            return _one(block.options, text)
        case "multiselect":
            return _named(block.options, text) or None
        case "boolean":
            return _yes_or_no(block, text)
        case "number":
            return _number(text)
        case "date":
            return _day(text)


def _yes_or_no(block: Block, text: str) -> bool | None:
    answer = _first((block.yes, block.no), text, rf"{ENDS[:-1]}|\s*,)")
    return None if answer is None else answer == block.yes


def _day(text: str) -> str | None:
    """Return the one day that a text names."""
    days: set[str] = set(DAY.findall(text))
    return days.pop() if len(days) == 1 else None


def _named(options: Sequence[str], text: str) -> list[str]:
    """Return the options that a text names by whole words, in the block's order; of two that overlap the longer.

    A text that denies something beside an option names none, for it may be the option that it denies.
    """
    if text in options:
        return [text]
    longest = sorted(options, key=len, reverse=True)
    each = "|".join(f"({re.escape(one)})" for one in longest)
    words = re.compile(rf"(?<!\w)(?:{each})(?!\w)", re.IGNORECASE)
    if any(words.search(one) and DENIAL.search(words.sub(" ", one)) for one in SENTENCE.split(text)):
        return []
    found = {longest[one.lastindex - 1] for one in words.finditer(text) if one.lastindex}
    return [option for option in options if option in found]


def _first(options: Sequence[str], text: str, after: str = ENDS) -> str | None:
    """Return the option that a text begins with and that stands there alone; a reason may follow."""
    if text in options:
        return text
    begun = text.lstrip(MARKUP)
    fits = (one for one in sorted(options, key=len, reverse=True) if one)
    return next((one for one in fits if re.match(re.escape(one) + after, begun, re.IGNORECASE)), None)


def _one(options: Sequence[str], text: str) -> str | None:
    """Return the one option that a text begins with, or names and no other."""
    named = _named(options, text)
    return _first(options, text) or (named[0] if len(named) == 1 else None)


def _number(text: str) -> float | None:
    try:
        value = float(text.split()[0].rstrip(".,"))
    except (ValueError, IndexError):
        return None
    return value if math.isfinite(value) else None


def read_grade(schema: ProjectSchema, answer: str) -> int:
    """Return the grade in an answer: the one that it begins with, or names and no other.

    Raises:
        Invalid: There is none of the project's grades in it, or there are several.
    """
    scores = sorted({level.score for level in schema.levels})
    named = {int(one) for one in GRADE.findall(answer)} & set(scores)
    begun = _first([str(score) for score in scores], answer.strip(), rf"{ENDS}(?!\.[0-9]|\s*[-\u2013\u2014]\s*[0-9])")
    if begun is not None:
        return int(begun)
    if len(named) == 1:
        return named.pop()
    many = "several grades" if named else "no grade"
    raise Invalid(f"the LLM gave {many}: {answer.strip()[:80]!r}")
