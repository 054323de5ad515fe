"""Documents from files as people have them: every field is kept, and what is skipped is told with its reason."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.storable import unstorable
from stm_agent.errors import DataError

KEYS = ("_id", "id", "Document_Id", "document_id", "doc_id", "docid", "key")
"""Names under which an id is looked for, in this order."""
KINDS: dict[str, Any] = {
    "text": str,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "date": str,
}
LONGEST = 30_000_000
"""Characters of a document, at most."""
TOLD = 20
"""Skipped rows that a report names one by one."""


@dataclass
class Report:
    """What became of an import.

    Attributes:
        added: Documents that went in.
        skipped: Rows that did not, by reason.
        examples: The first of them: where, and why.
        fields: How many documents have each field.
    """

    added: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    fields: Counter[str] = field(default_factory=Counter)

    def skip(self, where: str, reason: str) -> None:
        """Count a row that is not taken."""
        self.skipped[reason] += 1
        if len(self.examples) < TOLD:
            self.examples.append(f"{where}: {reason}")

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "added": self.added,
            "skipped": dict(self.skipped),
            "examples": self.examples,
            "fields": dict(self.fields),
        }


def read_documents(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield ("file:line", row) of a JSON array, JSONL, CSV, a BEIR folder, or a ``datasets`` folder on disk.

    Raises:
        DataError: The file is missing, is not UTF-8, or is none of these.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; name a .json, .jsonl or .csv file, or a folder")
    readers = {".json": _array, ".jsonl": _lines, ".ndjson": _lines, ".csv": _table}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path.name} is no .json, .jsonl or .csv; convert it to one of these")
    return readers[path.suffix.lower()](path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it, for example with iconv") from error


def _array(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} is no JSON array of documents; put the documents in [ ]")
    yield from ((f"{path.name}:{number}", row) for number, row in enumerate(rows, 1))


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                yield f"{path.name}:{number}", json.loads(line)
            except ValueError:
                yield f"{path.name}:{number}", None


def _table(path: Path) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(LONGEST)
    reader = csv.DictReader(_text(path).splitlines(keepends=True))
    for row in reader:
        # A line with more cells than the header has them under None.
        yield f"{path.name}:{reader.line_num}", None if None in row else dict(row)


def _folder(path: Path) -> Iterator[tuple[str, Any]]:
    if (path / "corpus.jsonl").is_file():
        yield from _lines(path / "corpus.jsonl")
        return
    from datasets import Dataset, load_from_disk

    try:
        stored = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds neither corpus.jsonl nor a datasets folder; name one of these") from error
    parts = [stored] if isinstance(stored, Dataset) else list(stored.values())
    for part in parts:
        yield from ((f"{path.name}:{number}", dict(row)) for number, row in enumerate(part, 1))


def usable(
    rows: Iterable[tuple[str, Any]], schema: ProjectSchema, report: Report, known: set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (key, fields) of the rows that fit the schema; the others are counted in the report."""
    for where, row in rows:
        if not isinstance(row, dict):
            report.skip(where, "is no JSON object, or has more cells than the header")
            continue
        name = next((name for name in KEYS if row.get(name) not in (None, "")), None)
        if name is None:
            report.skip(where, f"has no id; name it {KEYS[0]} or {KEYS[1]}")
            continue
        key = str(row[name])
        fields = {field: value for field, value in row.items() if field != name}
        if reason := _fault(key, fields, schema, known):
            report.skip(where, reason)
            continue
        known.add(key)
        report.added += 1
        report.fields.update(fields.keys())
        yield key, fields


def _fault(key: str, fields: dict[str, Any], schema: ProjectSchema, known: set[str]) -> str | None:
    if key in known:
        return "has an id that is there already"
    if len(key) > 200:
        return "has an id over 200 characters"
    for one in schema.fields:
        value = fields.get(one.name)
        if value in (None, ""):
            if one.required:
                return f"lacks '{one.name}', which is required"
        elif not isinstance(value, KINDS[one.type]) and one.type != "text":
            return f"has '{one.name}' that is no {one.type}"
    if not any(str(fields.get(name) or "").strip() for name in schema.content_fields):
        return f"has no text in {' or '.join(schema.content_fields)}"
    if sum(len(value) for value in fields.values() if isinstance(value, str)) > LONGEST:
        return f"has over {LONGEST:,} characters"
    return unstorable([key, fields])


def check_upload(name: str, size: int, limit: int) -> None:
    """Let an upload pass, or not.

    Raises:
        Invalid: It is too large.
    """
    if size > limit:
        raise Invalid(f"{name} has {size:,} bytes, {limit:,} are taken; import it by 'stm-agent annotate import'")
