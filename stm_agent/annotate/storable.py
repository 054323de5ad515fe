"""What JSON values both databases keep and give back the same, and how long a text may be."""

from __future__ import annotations

import math
import re

from stm_agent.annotate.faults import Invalid

_ODD = re.compile("[\x00\ud800-\udfff]")
DEEPEST = 100
"""How deep lists and objects may be nested; some hundreds would come in and not go out again."""
NOWHERE = (".", "..")
"""Names that no address can have: it is this folder, or the one above."""
NO_CHARACTER = "\uffff"
"""Stands for a slash within one part of an address; Unicode guarantees that no text contains it."""
LARGEST = 2**31 - 1
"""The largest whole number that a column keeps."""


def unstorable(value: object) -> str | None:
    """Return what a JSON value holds that cannot be stored; None: nothing."""
    level = [value]
    for _ in range(DEEPEST):
        if reason := next(filter(None, map(_fault, level)), None):
            return reason
        deeper: list[object] = []
        for one in level:
            if isinstance(one, dict):
                deeper += [*one, *one.values()]
            elif isinstance(one, list):
                deeper += one
        if not deeper:
            return None
        level = deeper
    return f"nests lists and objects deeper than {DEEPEST} levels"


def _fault(one: object) -> str | None:
    if isinstance(one, str) and (found := _ODD.search(one)):
        return "holds a NUL character" if found[0] == "\x00" else "holds half a character (a lone surrogate)"
    if isinstance(one, float) and not math.isfinite(one):
        return f"holds {one}, which is not a JSON number"
    return None


def words(value: object, what: str, most: int = 1_000_000) -> str:
    """Return a text that a column keeps.

    Raises:
        Invalid: It is not text, or too long.
    """
    if not isinstance(value, str):
        raise Invalid(f"{what} must be text, not {str(value)[:60]!r}")
    if len(value) > most:
        raise Invalid(f"{what} has {len(value):,} characters; at most {most:,} are allowed")
    return value
