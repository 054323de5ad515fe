"""Training data of a run in numbers and samples: what was written, mined, relabelled and left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypedDict

from stm_agent.errors import StmAgentError, StorageError
from stm_agent.files import read_json
from stm_agent.inspect.data import data_rows
from stm_agent.inspect.data_rows import AuditedNegative, Positive, Shown
from stm_agent.inspect.data_verdicts import AUDIT
from stm_agent.inspect.page.record import RunRecord, Values
from stm_agent.loop.prepare import STAGES
from stm_agent.synthesize.audit_job import REPORT

SAMPLES = 24
"""Rows of each kind that are shown; ``stm-agent data show`` has all."""
LONGEST_PASSAGE = 600
NEGATIVES = 4
"""Negatives of a sample that are shown."""


class Sample(TypedDict):
    """One row: a query with its positives and negatives."""

    id: str
    verdict: str
    reason: str
    query: str
    positives: list[str]
    negatives: list[dict[str, str]]
    by: str


class Group(TypedDict):
    """Rows of one kind of stage.

    Attributes:
        counts: What is counted, as name and number.
        samples: Some rows, refused ones among them.
    """

    name: str
    counts: list[tuple[str, int]]
    samples: list[Sample]


class Written(TypedDict):
    """The data of a run; ``rates`` are false-negative rates by kind of negative."""

    groups: list[Group]
    rates: list[dict[str, str]]
    notes: list[str]
    missing: str


NO_DATA: Written = {"groups": [], "rates": [], "notes": [], "missing": "The data of this run cannot be read."}


def written(record: RunRecord) -> Written:
    """Return counts and samples; ``missing`` says why there are none."""
    try:
        rows = data_rows(record.folder)
    except (StmAgentError, OSError, KeyError, TypeError) as error:
        # Stages are shared and may be deleted or of another version; the page goes without them and says so.
        return {"groups": [], "rates": [], "notes": [], "missing": f"The data of this run cannot be read: {error}"}
    kinds = dict.fromkeys(row["stage"] for row in rows)
    levers = ("synthesize", "graded", "mine", "audit", "data", "train")
    texts = [*record.events("note"), *record.events("warning")]
    return {
        "groups": [_group(kind, [row for row in rows if row["stage"] == kind]) for kind in kinds],
        "rates": [rate for audit in _audits(record) for rate in _rates(audit)],
        "notes": [f"{entry['name']}: {entry['text']}" for entry in texts if entry["name"] in levers],
        "missing": "" if rows else "This run wrote and mined no training data, or its stage folders were deleted.",
    }


def _group(kind: str, rows: Sequence[Shown]) -> Group:
    counts = Counter({"rows": len(rows)})
    for row in rows:
        counts[f"rows {row['verdict']}"] += 1
        for negative in row["negatives"]:
            counts[f"negatives: {negative['kind']}"] += 1
            if verdict := negative.get("verdict"):
                counts[f"audited negatives: {verdict}"] += 1
    refused = [row for row in rows if row["verdict"] != "accepted"]
    audited = [row for row in rows if any("verdict" in negative for negative in row["negatives"])]
    chosen = [*audited[: SAMPLES // 3], *refused[: SAMPLES // 3], *rows]
    unique = list({row["id"]: row for row in chosen}.values())[:SAMPLES]
    return {"name": kind, "counts": list(counts.items()), "samples": [_sample(row) for row in unique]}


def _sample(row: Shown) -> Sample:
    return {
        "id": row["id"],
        "verdict": row["verdict"],
        "reason": row["reason"],
        "query": row["query"][:LONGEST_PASSAGE],
        "positives": [_text(entry) for entry in row["positives"]],
        "negatives": [
            {"text": _text(entry), "kind": entry["kind"], "verdict": _verdict(entry)}
            for entry in row["negatives"][:NEGATIVES]
        ],
        "by": " ".join(part for part in (row["model"], row["program"]) if part),
    }


def _text(entry: Positive | AuditedNegative) -> str:
    return entry["text"][:LONGEST_PASSAGE]


def _verdict(negative: AuditedNegative) -> str:
    if "verdict" not in negative:
        return ""
    chance = f", {negative['chance']:.0%} likely relevant" if "chance" in negative else ""
    return f"{negative['verdict']} by {negative.get('by', 'nobody')}{chance}"


def _audits(record: RunRecord) -> Iterator[Values]:
    for name in dict.fromkeys(entry["folder"] for entry in record.events("stage") if entry["name"] == AUDIT):
        try:
            yield read_json(record.folder.parent / STAGES / name / REPORT)
        except StorageError:
            continue


def _rates(audit: Values) -> Iterator[dict[str, str]]:
    for kind, rates in audit.get("rates", {}).items():
        yield {"kind": str(kind), **{time: _rate(rate) for time, rate in rates.items()}}


def _rate(rate: Values) -> str:
    return f"{rate['share']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}] of {rate['count']:,}"
