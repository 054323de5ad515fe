"""The rows of a run's training data: what was written and mined, with the way each text came to be."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from stm_agent.errors import ConfigError, StorageError
from stm_agent.files import read_json, read_jsonl
from stm_agent.inspect.data_rows import AuditedNegative, Shown
from stm_agent.loop.prepare import CACHE, STAGES
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.rows import ROWS, Against, Graded, Row, load_rows

MINE = "mine"
WRITING = ("queries", "synthesize", "graded")
"""Kinds of stages that store rows."""
AUDIT, VERDICTS = "audit", "verdicts.jsonl"
"""Kind of a stage that decides which negatives are relevant, and its file."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which rows are shown; None: all.

    Attributes:
        source: Source of training pairs.
        kind: Kind of a negative, or the stage: ``queries``, ``negatives``, ``graded``, ``mined``.
        model: The generator.
        program: File name of the program, or the start of its hash.
        type: Type of the query.
        verdict: ``accepted`` or ``refused``, or what an audit decided on a negative.
        contains: Text in the query or a passage; upper and lower case are the same.
        trial: Number of the sample.
        grade: Grade of a positive.
        score: Name of a score and the least value.
    """

    source: str | None = None
    kind: str | None = None
    model: str | None = None
    program: str | None = None
    type: str | None = None
    verdict: str | None = None
    contains: str | None = None
    trial: int | None = None
    grade: int | None = None
    score: tuple[str, float] | None = None

    def fits(self, row: Shown) -> bool:
        """Return whether a row is shown."""
        return all(
            (
                self.source in (None, row["source"]),
                self.kind in (None, row["stage"], *(negative["kind"] for negative in row["negatives"])),
                self.model in (None, row["model"]),
                self._program_fits(row),
                self.type in (None, row["type"]),
                self.verdict in (None, row["verdict"], *(negative.get("verdict") for negative in row["negatives"])),
                self.contains is None or self.contains.casefold() in _text(row).casefold(),
                self.trial in (None, row["trial"]),
                self.grade in (None, *(positive["grade"] for positive in row["positives"])),
                self.score is None or row["scores"].get(self.score[0], -math.inf) >= self.score[1],
            )
        )

    def _program_fits(self, row: Shown) -> bool:
        if self.program is None:
            return True
        name = row["program"].removesuffix(".py")
        is_hash = len(self.program) >= 6 and row["program_hash"].startswith(self.program)
        return (bool(name) and self.program.removesuffix(".py") == name) or is_hash

    def require_known(self, rows: Sequence[Shown]) -> None:
        """Check that each value occurs in some row.

        Raises:
            ConfigError: One does not; the message names those that do.
        """
        if self.score is not None and not any(self.score[0] in row["scores"] for row in rows):
            known = sorted({name for row in rows for name in row["scores"]})
            raise ConfigError(f"no row has a score '{self.score[0]}'; there are: {', '.join(known) or 'none'}")
        for name in ("source", "kind", "model", "type", "verdict"):
            wanted, known = getattr(self, name), sorted(_values(rows, name) - {""})
            if wanted is not None and wanted not in known:
                near = difflib.get_close_matches(wanted, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known[:12]) or 'none'}"
                raise ConfigError(f"no row has {name} '{wanted}'; {hint}")


def _values(rows: Sequence[Shown], name: str) -> set[str]:
    own = {str(dict(row)["stage" if name == "kind" else name]) for row in rows}
    if name not in ("kind", "verdict"):
        return own
    negatives = (dict(negative) for row in rows for negative in row["negatives"])
    return own | {str(negative[name]) for negative in negatives if name in negative}


def data_rows(folder: Path) -> list[Shown]:
    """Return all rows of a run, or of a folder that ``stm-agent synthesize`` wrote; ids are unique.

    Args:
        folder: The run's folder, or one with ``rows.jsonl``.
    """
    if (folder / ROWS).is_file():
        return list(_unique(_written(folder, "")))
    if several := written_folders(folder):
        return list(_unique(row for part in several for row in _written(part, "")))
    stages = _stages(folder)
    trials = {entry["folder"]: entry["trial"] for entry in _ledger(folder) if entry["event"] == "written"}
    rows = (row for stage in stages for row in _rows_of(stage, trials.get(stage.name, "")))
    return list(_unique(_audited(rows, stages)))


def written_folders(folder: Path) -> list[Path]:
    """Return the folders with rows in one that ``stm-agent synthesize`` wrote with several kinds of text."""
    return [folder / kind for kind in ("queries", "negatives", "graded") if (folder / kind / ROWS).is_file()]


def read_score(text: str) -> tuple[str, float]:
    """Return the name and the least value of ``NAME=LEAST``.

    Raises:
        ConfigError: It is not of this form.
    """
    name, _, least = text.partition("=")
    try:
        return name, float(least)
    except ValueError:
        raise ConfigError(f"--score {text} cannot be read; use NAME=LEAST, for example copied=0.8") from None


def find_row(rows: Sequence[Shown], name: str) -> Shown:
    """Return one row by its id.

    Raises:
        ConfigError: There is none.
    """
    for row in rows:
        if row["id"] == name:
            return row
    near = difflib.get_close_matches(name, [row["id"] for row in rows], n=1)
    hint = f"did you mean {near[0]}?" if near else "'data show' without --row lists them"
    raise ConfigError(f"row '{name}' does not exist; {hint}")


def training_example(row: Shown) -> dict[str, str | list[float]]:
    """Return what training reads of a row: the query, its positives with grades, and its negatives."""
    best = max((positive["grade"] for positive in row["positives"]), default=0)
    texts = [positive["text"] for positive in row["positives"] if positive["grade"] == best]
    example: dict[str, str | list[float]] = {"query": row["query"], "positive": texts[0] if texts else ""}
    lower = [positive for positive in row["positives"] if positive["grade"] != best]
    example |= {f"related_{number}": positive["text"] for number, positive in enumerate(lower, 1)}
    example |= {f"negative_{number}": negative["text"] for number, negative in enumerate(row["negatives"], 1)}
    if lower:
        grades = [1.0, *(positive["grade"] / best for positive in lower), *(0.0 for _ in row["negatives"])]
        example["grades"] = [round(grade, 4) for grade in grades]
    return example


def chat_of_row(folder: Path, row: Shown) -> list[dict[str, str]]:
    """Return the chat in which a row was written, with the raw answer; empty if it is not in the cache any more."""
    request = row["request"]
    path = folder.parent / CACHE / "llm" / request[:2] / f"{request}.json"
    if not request or not path.is_file():
        return []
    try:
        stored = read_json(path)
        answer = {"role": "assistant", "content": str(stored["text"])}
        return [*({"role": m["role"], "content": m["content"]} for m in stored["messages"]), answer]
    except (StorageError, KeyError, TypeError):
        return []


def _ledger(folder: Path) -> list[dict[str, Any]]:
    return read_jsonl(folder / "ledger.jsonl")


def _stages(folder: Path) -> list[Path]:
    """Return the stages of a run that hold rows and still exist, in order, each once."""
    names = [entry["folder"] for entry in _ledger(folder) if entry["event"] == "stage"]
    stages = [folder.parent / STAGES / name for name in dict.fromkeys(names)]
    return [stage for stage in stages if stage.name.partition("-")[0] in (*WRITING, MINE, AUDIT) and stage.is_dir()]


def _audited(rows: Iterable[Shown], stages: Sequence[Path]) -> Iterator[Shown]:
    """Yield all rows, with the last verdict of an audit on each of their negatives."""
    audits = [stage for stage in stages if stage.name.partition("-")[0] == AUDIT]
    entries = (entry for stage in audits for entry in read_jsonl(stage / VERDICTS))
    decided = {
        (entry["query"], entry["negative"]): {
            "verdict": entry["decision"],
            **{name: entry[name] for name in ("by", "chance", "grade", "reason") if entry.get(name) is not None},
        }
        for entry in entries
    }
    for row in rows:
        verdicts = (decided.get((row["query"], negative["text"]), {}) for negative in row["negatives"])
        negatives = [
            cast("AuditedNegative", {**negative, **verdict})
            for negative, verdict in zip(row["negatives"], verdicts, strict=True)
        ]
        yield {**row, "negatives": negatives}


def _rows_of(stage: Path, trial: str) -> Iterator[Shown]:
    kind = stage.name.partition("-")[0]
    if kind in WRITING:
        yield from _written(stage, trial)
    elif kind == MINE:
        yield from _mined(stage)


def _written(stage: Path, trial: str) -> Iterator[Shown]:
    for row in load_rows(stage):
        yield _shown(row, stage, trial)


def _mined(stage: Path) -> Iterator[Shown]:
    """Yield a row for each pair with mined negatives."""
    from datasets import load_from_disk

    negatives = load_negatives(stage)
    pairs = load_from_disk(str(stage / "negatives")).select_columns(["pair", "query", "positive"])
    texts = {row["pair"]: row for row in pairs}
    for name, row in negatives.items():
        mined = Row(
            id=f"mined:{name}",
            stage="mined",
            source="",
            query=texts[name]["query"],
            instruction="",
            positives=(Graded(text=texts[name]["positive"]),),
            negatives=tuple(Against(text=n.text, id=n.passage_id, kind=n.source, score=n.score) for n in row),
            model="",
            program="",
            program_hash="",
            temperature=0.0,
        )
        yield _shown(mined, stage)


def _shown(row: Row, stage: Path, trial: str = "") -> Shown:
    return cast("Shown", {**asdict(row), "folder": stage.name, "program_trial": trial})


def _unique(rows: Iterable[Shown]) -> Iterator[Shown]:
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row["id"]] += 1
        yield row if seen[row["id"]] == 1 else {**row, "id": f"{row['id']}@{seen[row['id']]}"}


def _text(row: Shown) -> str:
    passages = [entry["text"] for entry in (*row["positives"], *row["negatives"])]
    return "\n".join([row["query"], *passages])
