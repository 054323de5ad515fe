"""Columns of loss ``distil``: the candidates that a teacher scored, and its scores as targets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.mine.lists import Candidate, Lists

COLUMN = "candidate_"
NO_CANDIDATE = -math.inf
"""Target of a cell without a candidate, which the loss leaves out."""


def with_scores(pairs: Sequence[Pair], lists: Lists, skipped: Counter[str]) -> list[Pair]:
    """Return the pairs that a teacher scored, with at least one candidate; count the others."""
    scored = [pair for pair in pairs if pair.id in lists and lists[pair.id].candidates]
    if missing := len(pairs) - len(scored):
        skipped["no teacher scores, left out"] += missing
    return scored


def copies_of_lists(pairs: Sequence[Pair], lists: Lists, expert: ExpertSpec) -> int:
    """Return how many copies of a row it takes to show the longest list's candidates once."""
    longest = max(len(lists[pair.id].candidates) for pair in pairs)
    return longest // expert.candidates


def scored_columns(
    pairs: Sequence[Pair], lists: Lists, expert: ExpertSpec, copies: int, prefix: str, skipped: Counter[str]
) -> tuple[dict[str, list[str]], list[list[float]]]:
    """Return the candidate columns and the targets, all copies of the first row's pair, then of the next.

    A list that is too short leaves cells empty: they hold the query's text, so that a forward has something short to
    encode, and the target :data:`NO_CANDIDATE`. They are counted.

    Args:
        pairs: Pairs with scores.
        lists: Their scores.
        expert: ``candidates`` and ``gold``.
        copies: Copies of each row; each copy begins where the one before ended.
        prefix: Text in front of a passage.
        skipped: Counter of what is missing.

    Returns:
        Columns ``candidate_1`` ..., and ``[rows x copies, 1 + candidates]`` targets, the positive's first.
    """
    rows = [_shown(lists[pair.id].candidates, expert.candidates, copy) for copy in range(copies) for pair in pairs]
    targets: list[list[float]] = []
    texts: list[list[str]] = []
    for number, row in enumerate(rows):
        pair = pairs[number % len(pairs)]
        missing = expert.candidates - len(row)
        if missing and number < len(pairs):
            skipped["candidate missing, its cell is masked"] += missing
        positive = lists[pair.id].positive + expert.gold
        targets.append([positive, *(candidate.score for candidate in row), *[NO_CANDIDATE] * missing])
        texts.append([*(candidate.text for candidate in row), *[pair.query] * missing])
    columns = {f"{COLUMN}{number + 1}": [prefix + row[number] for row in texts] for number in range(expert.candidates)}
    return columns, targets


def _shown(candidates: Sequence[Candidate], count: int, copy: int) -> Sequence[Candidate]:
    first = copy * count % len(candidates)
    return [*candidates[first:], *candidates[:first]][:count]
