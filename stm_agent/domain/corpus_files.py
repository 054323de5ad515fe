"""A corpus as people have it: JSONL, CSV or Parquet with a text a row, or a folder of files that people read."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stm_agent.domain.beir_files import json_object, lines_of, packed_or_plain
from stm_agent.domain.collection import Document
from stm_agent.domain.corpus_text import READERS, UnusableFileError, read_text_file
from stm_agent.errors import DataError, first_line, raised_as

FORMATS = "a .jsonl, .csv, .tsv or .parquet file with a text in each row, or a folder of .txt, .md, .html or .pdf files"
TEXT_COLUMNS = ("text", "passage", "content", "contents", "body", "document", "abstract")
"""Names under which a row's text is looked for, in this order, whatever their case."""
ID_COLUMNS = ("_id", "id", "doc_id", "docid", "document_id", "key")
TITLE_COLUMNS = ("title", "heading", "name")
_LONGEST_CELL = 30_000_000
"""Characters of a cell of a CSV file, at most; the csv module's own limit is 131,072."""
_SEPARATORS = (",", ";", "\t")
_SHOWN_COLUMNS = 8

Row = tuple[str, Mapping[str, object]]
"""("file:line", cells by column)."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Documents without queries.

    Attributes:
        name: The file's or folder's name.
        documents: The documents with a text, in a fixed order, ids unique.
        left_out: Files and rows that are no document, by reason.
        examples: Reason -> the first of them.
    """

    name: str
    documents: tuple[Document, ...]
    left_out: Mapping[str, int]
    examples: Mapping[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, one line for each reason."""
        total = len(self.documents) + sum(self.left_out.values())
        return tuple(
            f"{count} of {total} left out: {reason}, such as {self.examples[reason]}"
            for reason, count in self.left_out.items()
        )


class _LeftOut:
    """Counts what is not used, with the first example of each reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, reason: str, example: str) -> None:
        self.counts[reason] += 1
        self.examples.setdefault(reason, example)


def read_corpus(path: Path) -> Corpus:
    """Read all documents of a file or a folder.

    Of a BEIR folder its ``corpus.jsonl`` is read. In another folder and those below it, every file of a kind that
    people read is a document, whose id is its path in the folder; hidden files are not read.

    Raises:
        DataError: The path does not exist or holds nothing that can be read; a table has no column of texts; a row
            cannot be read or repeats an id.
    """
    left_out = _LeftOut()
    if path.is_dir():
        listed = packed_or_plain(path / "corpus.jsonl")
        documents = _documents_of(listed, left_out) if listed.is_file() else _files_of(path, left_out)
    elif not path.is_file():
        raise DataError(f"corpus {path} does not exist; name {FORMATS}")
    elif path.suffix.lower() in READERS:
        documents = [_document_of(path, path.name)]
    else:
        documents = _documents_of(path, left_out)
    if not documents:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.counts.items()) or "it is empty"
        raise DataError(f"corpus {path} has no usable text ({reasons}); name {FORMATS}")
    return Corpus(
        name=path.resolve().name.removesuffix(".gz"),
        documents=tuple(documents),
        left_out=dict(left_out.counts),
        examples=left_out.examples,
    )


def _document_of(path: Path, key: str) -> Document:
    try:
        title, text = read_text_file(path)
    except UnusableFileError as error:
        raise DataError(f"{path} {error.reason}; {error.fix}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check its rights") from error
    return Document(_storable(key), _storable(title), _storable(text))


def _storable(text: str) -> str:
    """Replace lone surrogates, which JSON and names of files can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _files_of(folder: Path, left_out: _LeftOut) -> list[Document]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _is_hidden(file.relative_to(folder))]
    documents = []
    for file in files:
        name = file.relative_to(folder).as_posix()
        if file.suffix.lower() not in READERS:
            left_out.add(f"a {file.suffix or 'nameless kind of'} file", name)
            continue
        try:
            title, text = read_text_file(file)
        except UnusableFileError as error:
            left_out.add(error.reason, name)
        except OSError as error:
            left_out.add(f"cannot be read ({error.strerror})", name)
        else:
            # An id is a cell of a table with tabs.
            documents.append(Document(re.sub(r"\s", " ", _storable(name)), _storable(title), _storable(text)))
    return documents


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _documents_of(path: Path, left_out: _LeftOut) -> list[Document]:
    documents: list[Document] = []
    seen: dict[str, str] = {}
    columns: tuple[str, str | None, str | None] | None = None
    for number, (location, row) in enumerate(_rows_of(path), 1):
        columns = columns or _columns(row, location)
        text, key_column, title = columns
        key = _key(row, key_column, number, location)
        if key in seen:
            raise DataError(f"{location} repeats id '{key}' of {seen[key]}; make the ids unique")
        seen[key] = location
        document = Document(key, _storable(_cell(row, title, location)), _storable(_cell(row, text, location)))
        if document.text.strip():
            documents.append(document)
        else:
            left_out.add("has no text", location)
    return documents


def _columns(row: Mapping[str, object], location: str) -> tuple[str, str | None, str | None]:
    """Return the columns of text, id and title, from the first row."""
    by_name = {str(name).strip().casefold(): name for name in row}

    def first(names: Sequence[str]) -> str | None:
        return next((by_name[name] for name in names if name in by_name), None)

    text = first(TEXT_COLUMNS)
    if text is None:
        shown = ", ".join(map(str, list(row)[:_SHOWN_COLUMNS])) or "none"
        raise DataError(f"{location} has no column of texts (its columns: {shown}); name one of them 'text'")
    return text, first(ID_COLUMNS), first(TITLE_COLUMNS)


def _key(row: Mapping[str, object], column: str | None, number: int, location: str) -> str:
    """Return a row's id; the number of the row if the table has none."""
    if column is None:
        return f"row-{number}"
    value = row.get(column)
    key = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not key or not key.isprintable():
        raise DataError(f"{location} has id {value!r}; an id is a text or an integer without tabs and line ends")
    return key


def _cell(row: Mapping[str, object], column: str | None, location: str) -> str:
    value = row.get(column) if column is not None else None
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{location} has a {column} that is not a string; quote it or leave it out")
    return value


def _rows_of(path: Path) -> Iterator[Row]:
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz", ".ndjson")):
        return ((f"{path}:{number}", json_object(line, f"{path}:{number}")) for number, line in lines_of(path))
    if name.endswith((".csv", ".tsv")):
        return _csv_rows(path)
    if name.endswith(".parquet"):
        return _parquet_rows(path)
    raise DataError(f"corpus {path} is not a kind of file that can be read; name {FORMATS}")


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    try:
        # Only newlines end a row: str.splitlines would also cut a cell at U+2028 and its like.
        stream = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it, for example with iconv") from error
    reader = csv.DictReader(stream, delimiter=_separator(stream))
    try:
        for row in reader:
            if None in row:
                raise DataError(f"{path}:{reader.line_num} has more cells than the header; quote cells with separators")
            yield f"{path}:{reader.line_num}", row
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num} is not valid CSV ({error}); write it again") from error


def _separator(stream: io.StringIO) -> str:
    """Return the separator by which the header has a column of texts, else the one by which it has most columns."""
    header = stream.readline()
    stream.seek(0)
    names = {
        mark: [name.strip().casefold() for name in next(csv.reader([header], delimiter=mark), [])]
        for mark in _SEPARATORS
    }
    return max(_SEPARATORS, key=lambda mark: (not set(TEXT_COLUMNS).isdisjoint(names[mark]), len(names[mark])))


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow.parquet

    def unreadable(error: BaseException) -> DataError:
        return DataError(f"cannot read {path} ({first_line(error)}); write it again as Parquet")

    with raised_as(unreadable):
        table = pyarrow.parquet.ParquetFile(path)
    number = 0
    for batch in table.iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield f"{path}:{number}", row
