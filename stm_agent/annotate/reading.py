"""Documents from files as people have them: every field is kept, and skipped rows are reported with their reason."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from stm_agent.annotate.formats.stored import check_inside
from stm_agent.annotate.report import Report
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.storable import NO_CHARACTER, NOWHERE, unstorable
from stm_agent.errors import DataError

KEYS = ("_id", "id", "Document_Id", "document_id", "doc_id", "docid", "key")
"""Names under which an id is looked for, in this order."""
KINDS: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}
SEPARATORS = (",", ";", "\t")
YES, NO = ("true", "yes", "1"), ("false", "no", "0")
LONGEST = 30_000_000
"""Characters of a document, at most."""


@dataclass(frozen=True)
class Unreadable:
    """A row that cannot be a document, and why."""

    reason: str


class Cells(dict[str, str | None]):
    """A row of a table: all its values are texts, whatever the schema has them as."""


def read_documents(path: Path) -> Iterator[tuple[str, object]]:
    """Yield ("file:line", row) of a JSON array, JSONL, CSV, TSV, a BEIR folder, or a ``datasets`` folder on disk.

    Raises:
        DataError: The file is missing, is not UTF-8, or is none of these.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; name a .json, .jsonl, .csv or .tsv file, or a folder")
    readers = {".json": _array, ".jsonl": _lines, ".ndjson": _lines, ".csv": _table, ".tsv": _table}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path.name} is not a .json, .jsonl, .csv or .tsv file; convert it to one of these")
    return readers[path.suffix.lower()](path)


def _text(path: Path) -> str:
    return decoded(path.read_bytes(), path.name)


def decoded(data: bytes, name: str) -> str:
    """Return a file's text, its line ends as newlines.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 (byte {error.start}); convert it, for example with iconv") from error


def _is_day(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _array(path: Path) -> Iterator[tuple[str, object]]:
    try:
        rows = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path.name} is not a JSON array of documents; put the documents in [ ]")
    yield from ((f"{path.name}:{number}", row) for number, row in enumerate(rows, 1))


def _lines(path: Path) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = Unreadable("is not valid JSON")
            yield f"{path.name}:{number}", row


def _table(path: Path) -> Iterator[tuple[str, object]]:
    csv.field_size_limit(LONGEST)
    # Only newlines end a row: str.splitlines would also cut a cell at U+2028 and its like.
    text = io.StringIO(_text(path), newline="")
    reader = csv.DictReader(text, delimiter=_separator(text))
    try:
        twice = [name for name, count in Counter(reader.fieldnames or ()).items() if count > 1]
        if twice:
            raise DataError(f"{path.name} has the column '{twice[0]}' twice; rename one")
        for row in reader:
            # A line with more cells than the header has them under None.
            over = None in row
            yield f"{path.name}:{reader.line_num}", Unreadable("has more cells than the header") if over else Cells(row)
    except csv.Error as error:
        raise DataError(f"{path.name}:{reader.line_num} is not valid CSV: {error}") from error


def _separator(text: io.StringIO) -> str:
    """Return what is between a table's columns: that by which its header has an id, else by which it has most columns.

    Where commas are in numbers, Excel writes semicolons.
    """

    def header(mark: str) -> list[str]:
        text.seek(0)
        try:
            return next(csv.reader(text, delimiter=mark), [])
        except csv.Error:
            return []

    names = {mark: header(mark) for mark in SEPARATORS}
    text.seek(0)
    return max(SEPARATORS, key=lambda mark: (not set(KEYS).isdisjoint(names[mark]), len(names[mark])))


def _folder(path: Path) -> Iterator[tuple[str, object]]:
    if (path / "corpus.jsonl").is_file():
        yield from _lines(path / "corpus.jsonl")
        return
    from datasets import Dataset, load_from_disk

    check_inside(path)
    try:
        stored = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} holds neither corpus.jsonl nor a datasets folder; name one of these") from error
    parts = [stored] if isinstance(stored, Dataset) else list(stored.values())
    for part in parts:
        yield from ((f"{path.name}:{number}", _plain(row)) for number, row in enumerate(part, 1))


def _plain(row: Mapping[str, object]) -> dict[str, object] | Unreadable:
    """Return a row of a data set as JSON has it: days and times as ISO 8601."""

    def told(value: object) -> str:
        if isinstance(value, date):
            return value.isoformat()
        raise TypeError(f"holds a {type(value).__name__}, which JSON cannot hold; drop that column")

    try:
        plain: dict[str, object] = json.loads(json.dumps(row, default=told))
    except TypeError as error:
        return Unreadable(str(error))
    return plain


def usable(
    rows: Iterable[tuple[str, object]], schema: ProjectSchema, report: Report, known: set[str]
) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield (key, fields) of the rows that fit the schema; the others are counted in the report."""
    for where, row in rows:
        if not isinstance(row, dict):
            report.skip(where, row.reason if isinstance(row, Unreadable) else "is not a JSON object")
            continue
        name = next((name for name in KEYS if row.get(name) not in (None, "")), None)
        if name is None:
            report.skip(where, f"has no id; name it {KEYS[0]} or {KEYS[1]}")
            continue
        key = str(row[name])
        kinds = {one.name: one.type for one in schema.fields} if isinstance(row, Cells) else {}
        fields = {field: _cell(value, kinds.get(field, "text")) for field, value in row.items() if field != name}
        if reason := _fault(key, fields, schema, known):
            report.skip(where, reason)
            continue
        known.add(key)
        report.added += 1
        report.fields.update(fields.keys())
        yield key, fields


def _cell(value: object, kind: str) -> object:
    """Return a table's cell as the schema has it; one that cannot be read so stays a text, and is refused as that."""
    if kind in ("text", "date") or not isinstance(value, str) or not value:
        return value
    if kind == "boolean":
        word = value.strip().lower()
        return word in YES if word in YES + NO else value
    try:
        read: object = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return read


def part_fault(key: str) -> str | None:
    """Return why a key cannot be one part of an address, as that of a project or an entry is; None: it can."""
    return "has a key with a slash" if "/" in key else key_fault(key, ())


def key_fault(key: str, known: Container[str]) -> str | None:
    """Return why no document or query can have this key; None: one can."""
    if not key.strip():
        return "has an id of spaces only"
    if key in known:
        return "has an id that already exists"
    if len(key) > 200:
        return "has an id over 200 characters"
    if key in NOWHERE:
        return f"has the id '{key}', which cannot be part of a URL"
    if any(letter < " " for letter in key):
        return "has an id with a tab or another control character"
    if NO_CHARACTER in key:
        return "has an id with U+FFFF, which is not a character"
    return None


def _fault(key: str, fields: Mapping[str, object], schema: ProjectSchema, known: set[str]) -> str | None:
    if reason := key_fault(key, known):
        return reason
    for one in schema.fields:
        value = fields.get(one.name)
        if value in (None, ""):
            if one.required:
                return f"lacks '{one.name}', which is required"
        elif one.type != "text" and not _fits(value, one.type):
            return f"has a '{one.name}' that is not a {one.type}"
    if not any(str(fields.get(name) or "").strip() for name in schema.content_fields):
        return f"has no text in {' or '.join(schema.content_fields)}"
    if sum(len(value) for value in fields.values() if isinstance(value, str)) > LONGEST:
        return f"has over {LONGEST:,} characters"
    return unstorable([key, fields])


def _fits(value: object, kind: str) -> bool:
    if kind == "date":
        return isinstance(value, str) and _is_day(value)
    # In Python a bool is an int; a year that is True is a mistake.
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))
