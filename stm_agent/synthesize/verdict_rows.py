"""The verdicts of an audit on disk, one a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from stm_agent.files import read_jsonl, write_jsonl
from stm_agent.mine.verdicts import Verdict, key_of
from stm_agent.synthesize.judge import Judgement

VERDICTS = "verdicts.jsonl"


class VerdictRow(TypedDict):
    """A line of ``verdicts.jsonl``: a doubtful negative and what became of it.

    Attributes:
        pair: Pair that the passage was found for.
        query: Its query.
        positive: Its positive.
        negative: The passage.
        kind: What found or wrote it.
        decision: ``negative``, ``dropped``, ``relabelled`` or ``queued``.
        by: What decided.
        chance: Chance that it is relevant; None: nothing is known.
        doubt: How doubtful it is, comparable between kinds.
        grade: A judge's grade; missing: nobody judged it.
        reason: The judge's reason.
    """

    pair: str
    query: str
    positive: str
    negative: str
    kind: str
    decision: str
    by: str
    chance: float | None
    doubt: float
    grade: NotRequired[int]
    reason: NotRequired[str]


def save_verdicts(folder: Path, verdicts: Iterable[Verdict], grades: Mapping[tuple[str, str], Judgement]) -> None:
    """Write ``verdicts.jsonl``; ``grades`` are a judge's, by query and passage."""
    write_jsonl(folder / VERDICTS, (_row(verdict, grades) for verdict in verdicts))


def load_verdicts(folder: Path) -> list[VerdictRow]:
    """Return the rows of ``verdicts.jsonl``."""
    return [cast("VerdictRow", row) for row in read_jsonl(folder / VERDICTS) if isinstance(row, dict)]


def _row(verdict: Verdict, grades: Mapping[tuple[str, str], Judgement]) -> VerdictRow:
    suspect = verdict.suspect
    row: VerdictRow = {
        "pair": suspect.pair.id,
        "query": suspect.pair.query,
        "positive": suspect.pair.positive,
        "negative": suspect.passage.text,
        "kind": suspect.kind,
        "decision": verdict.decision,
        "by": verdict.by,
        "chance": verdict.chance,
        "doubt": verdict.doubt,
    }
    if judgement := grades.get(key_of(suspect)):
        row["grade"], row["reason"] = judgement.grade, judgement.reason
    return row
