"""What was written, row by row with its provenance: ``rows.jsonl`` and the same as a ``datasets`` folder ``rows``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.files import read_jsonl, write_jsonl
from stm_agent.llm.checking import copied_share, is_copied
from stm_agent.program_files import program_hash

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

ROWS = "rows.jsonl"
DATASET = "rows"
ACCEPTED, REFUSED = "accepted", "refused"


@dataclass(frozen=True, kw_only=True)
class Graded:
    """A passage that answers a query, and how well.

    Attributes:
        text: The passage.
        id: Its id in the pool; empty for a written one.
        grade: Relevance, 3 for an answer, 2 and 1 for less.
    """

    text: str
    id: str = ""
    grade: int = 3


@dataclass(frozen=True, kw_only=True)
class Against:
    """A negative of a query.

    Attributes:
        text: The passage.
        id: Its id in the pool; empty for a written one.
        kind: How it was found: ``synthetic``, ``bm25``, ``dense`` or ``structural``.
        violates: The requirement of the query that it does not meet, where the program names it.
        score: The retriever's own score; 0 for others.
    """

    text: str
    id: str = ""
    kind: str = "synthetic"
    violates: str = ""
    score: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One written text with everything that it came from.

    Attributes:
        id: Unique in its stage.
        stage: ``queries``, ``negatives`` or ``graded``.
        source: Source of training pairs that it belongs to.
        query: The query; empty if it was withheld as nearly a dev or test query.
        instruction: What a query is and what should be found, as the generator read it.
        type: Type of the query, where it was asked for.
        positives: Passages that answer it.
        negatives: Passages that do not.
        model: The generator.
        program: File name of the program.
        program_hash: Hash of everything that the program reaches.
        temperature: Sampling temperature.
        trial: Number of the sample.
        request: Hash of the LLM request, the name of the whole chat in the cache of answers.
        scores: Measured values by name.
        verdict: ``accepted`` or ``refused``.
        reason: Why it was refused.
    """

    id: str
    stage: str
    source: str
    query: str
    instruction: str
    type: str = ""
    positives: tuple[Graded, ...] = ()
    negatives: tuple[Against, ...] = ()
    model: str
    program: str
    program_hash: str
    temperature: float
    trial: int = 0
    request: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    verdict: str = ACCEPTED
    reason: str = ""


def with_copies(rows: Iterable[Row]) -> list[Row]:
    """Return rows with ``copied`` in their scores: the share of the text that is one run of its passage's words.

    A query is compared with its passage, a written passage with the pair's own positive.
    """
    return [
        replace(row, scores={**row.scores, "copied": round(copied_share(_written(row), row.positives[0].text), 3)})
        if row.verdict == ACCEPTED and row.positives
        else row
        for row in rows
    ]


def count_copies(rows: Iterable[Row]) -> int:
    """Return the number of accepted rows whose text is copied from its passage."""
    accepted = (row for row in rows if row.verdict == ACCEPTED and row.positives)
    return sum(is_copied(_written(row), row.positives[0].text) for row in accepted)


def _written(row: Row) -> str:
    """Return the text of a row that the generator wrote."""
    if row.stage == "queries":
        return row.query
    return row.negatives[0].text if row.negatives else row.positives[-1].text


def blank_row(stage: str, source: str, task: str, program: Path, client: LlmClient) -> Row:
    """Return a row with what all rows of a stage share."""
    return Row(
        id="",
        stage=stage,
        source=source,
        query="",
        instruction=task,
        model=client.model,
        program=program.name,
        program_hash=program_hash(program),
        temperature=client.options.temperature,
    )


def save_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Write ``folder/rows.jsonl`` and ``folder/rows``, a ``datasets`` folder whose column ``scores`` is JSON."""
    records = [asdict(row) for row in rows]
    write_jsonl(folder / ROWS, records)
    _save_dataset(folder / DATASET, [{**record, "scores": json.dumps(record["scores"])} for record in records])


def _save_dataset(folder: Path, records: Sequence[Mapping[str, object]]) -> None:
    from datasets import Dataset, Features, Value, disable_progress_bars

    disable_progress_bars()
    text = Value("string")
    features: dict[str, object] = dict.fromkeys(Row.__dataclass_fields__, text)
    features["positives"] = [{"text": text, "id": text, "grade": Value("int64")}]
    features["negatives"] = [{"text": text, "id": text, "kind": text, "violates": text, "score": Value("float64")}]
    features |= {"temperature": Value("float64"), "trial": Value("int64")}
    columns = {name: [record[name] for record in records] for name in features}
    # Of no rows datasets would write no file, which it then cannot read.
    Dataset.from_dict(columns, features=Features(features)).save_to_disk(str(folder), num_shards=None if records else 1)


def load_rows(folder: Path) -> list[Row]:
    """Read what :func:`save_rows` wrote; a stage of an earlier version has no rows."""
    return [_row(record) for record in read_jsonl(folder / ROWS)]


def _row(record: Mapping[str, Any]) -> Row:
    positives = tuple(Graded(**entry) for entry in record["positives"])
    negatives = tuple(Against(**entry) for entry in record["negatives"])
    return Row(**{**record, "positives": positives, "negatives": negatives})
