"""What people said of hard negatives, in ``reviews/`` of the workspace; the loop trains on none they refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stm_agent.domain.collection import normalise
from stm_agent.domain.data import Pair
from stm_agent.files import read_jsonl, write_atomic
from stm_agent.mine.negatives import Negative

REFUSED = ("false_negative", "broken")
FOLDER = "reviews"


@dataclass(frozen=True)
class Verdict:
    """One answer: ``negative``, ``false_negative`` (it is relevant) or ``broken`` (it is no passage)."""

    query: str
    negative: str
    answer: str


def write_verdicts(workspace: Path, name: str, verdicts: Iterable[Verdict]) -> Path:
    """Write ``reviews/NAME.jsonl``, whole; return the file."""
    path = workspace / FOLDER / f"{name}.jsonl"
    lines = (json.dumps(vars(verdict), ensure_ascii=False) + "\n" for verdict in verdicts)
    write_atomic(path, "".join(lines))
    return path


def refused(workspace: Path) -> frozenset[tuple[str, str]]:
    """Return the (query, negative) pairs that somebody refused, both normalised."""
    found = set()
    for path in sorted((workspace / FOLDER).glob("*.jsonl")):
        for row in read_jsonl(path):
            if row.get("answer") in REFUSED:
                found.add((normalise(str(row["query"])), normalise(str(row["negative"]))))
    return frozenset(found)


def without_refused(
    pairs: Sequence[Pair], negatives: Mapping[str, tuple[Negative, ...]], known: frozenset[tuple[str, str]]
) -> tuple[dict[str, tuple[Negative, ...]], int]:
    """Return the negatives that nobody refused, and how many were taken out."""
    queries = {pair.id: normalise(pair.query) for pair in pairs}
    kept, gone = {}, 0
    for pair, found in negatives.items():
        good = tuple(one for one in found if (queries.get(pair, ""), normalise(one.text)) not in known)
        gone += len(found) - len(good)
        if good:
            kept[pair] = good
    return kept, gone
