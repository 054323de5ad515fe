"""People's reviews of hard negatives, in ``reviews/`` of the workspace; the loop never trains on refused ones."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stm_agent.domain.data import Pair
from stm_agent.domain.text import normalise
from stm_agent.files import read_jsonl, write_atomic
from stm_agent.mine.negatives import Negative

logger = logging.getLogger(__name__)
REFUSED = ("false_negative", "broken")
ANSWERS = ("negative", *REFUSED)
FOLDER = "reviews"


@dataclass(frozen=True)
class Verdict:
    """One answer: ``negative``, ``false_negative`` (it is relevant) or ``broken`` (it cannot be read as a passage)."""

    query: str
    negative: str
    answer: str


def write_verdicts(workspace: Path, name: str, verdicts: Iterable[Verdict]) -> Path:
    """Write ``reviews/NAME.jsonl`` atomically; return the file."""
    path = workspace / FOLDER / f"{name}.jsonl"
    lines = (json.dumps(vars(verdict), ensure_ascii=False) + "\n" for verdict in verdicts)
    write_atomic(path, "".join(lines))
    return path


def refused(workspace: Path) -> frozenset[tuple[str, str]]:
    """Return the (query, negative) pairs that somebody refused, both normalised."""
    pairs = set()
    for path in sorted((workspace / FOLDER).glob("*.jsonl")):
        for row in read_jsonl(path):
            if not isinstance(row, dict) or not {"query", "negative", "answer"} <= row.keys():
                logger.warning("%s has a line without query, negative and answer; it is left out", path)
            elif row["answer"] in REFUSED:
                pairs.add((normalise(str(row["query"])), normalise(str(row["negative"]))))
    return frozenset(pairs)


def answers_of(workspace: Path) -> tuple[tuple[str, str, str], ...]:
    """Return (query, passage, answer) of all that was reviewed, normalised and sorted; the last answer counts."""
    answers: dict[tuple[str, str], str] = {}
    for path in sorted((workspace / FOLDER).glob("*.jsonl")):
        for row in read_jsonl(path):
            # Lines that lack something are warned of by refused().
            if isinstance(row, dict) and row.get("answer") in ANSWERS and {"query", "negative"} <= row.keys():
                answers[normalise(str(row["query"])), normalise(str(row["negative"]))] = str(row["answer"])
    return tuple(sorted((*key, answer) for key, answer in answers.items()))


def without_refused(
    pairs: Sequence[Pair], negatives: Mapping[str, tuple[Negative, ...]], refused_pairs: frozenset[tuple[str, str]]
) -> tuple[dict[str, tuple[Negative, ...]], int]:
    """Return the negatives that nobody refused, and how many were removed.

    Args:
        pairs: The pairs, for their queries.
        negatives: Pair id -> negatives.
        refused_pairs: What :func:`refused` returns.
    """
    queries = {pair.id: normalise(pair.query) for pair in pairs}
    remaining, removed = {}, 0
    for pair, candidates in negatives.items():
        query = queries.get(pair, "")
        accepted = tuple(negative for negative in candidates if (query, normalise(negative.text)) not in refused_pairs)
        removed += len(candidates) - len(accepted)
        if accepted:
            remaining[pair] = accepted
    return remaining, removed
