"""The rows of a run's training data: what was written and mined, with the way each text came to be."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from stm_agent.errors import ConfigError, StorageError
from stm_agent.files import read_json, read_jsonl, write_jsonl
from stm_agent.inspect.data_rows import Shown
from stm_agent.inspect.data_verdicts import AUDIT, TEACH, with_verdicts
from stm_agent.loop.prepare import CACHE, STAGES
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.rows import ROWS, Against, Graded, Row, load_rows

MINE = "mine"
WRITING = ("queries", "synthesize", "graded")
"""Kinds of stages that store rows."""


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
    return list(_unique(with_verdicts(rows, stages)))


def written_folders(folder: Path) -> list[Path]:
    """Return the folders with rows in one that ``stm-agent synthesize`` wrote with several kinds of text."""
    return [folder / kind for kind in ("queries", "negatives", "graded") if (folder / kind / ROWS).is_file()]


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


def save_shown(rows: Sequence[Shown], target: Path) -> None:
    """Write rows with everything that was decided on them, one JSON document a line.

    Raises:
        ConfigError: The file exists.
        StorageError: It cannot be written.
    """
    if target.exists():
        raise ConfigError(f"{target} exists; name another file for --output, or remove it")
    write_jsonl(target, rows)


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
    """Return the stages of a run that hold rows, or decided on them, and still exist, in order, each once."""
    names = [entry["folder"] for entry in _ledger(folder) if entry["event"] == "stage"]
    stages = [folder.parent / STAGES / name for name in dict.fromkeys(names)]
    kinds = (*WRITING, MINE, AUDIT, TEACH)
    return [stage for stage in stages if stage.name.partition("-")[0] in kinds and stage.is_dir()]


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
