"""The files of a collection in BEIR layout, as people have them: gzip, BOM, CRLF, numbers as ids, TREC judgements."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stm_agent.errors import DataError

logger = logging.getLogger(__name__)
BOM = b"\xef\xbb\xbf"
LAYOUT = (
    "a BEIR folder needs corpus.jsonl, queries.jsonl and qrels/<split>.tsv; if there are only documents, "
    "stm-agent optimize --corpus has queries written"
)
JUDGEMENTS = (".tsv", ".txt", ".qrels")
"""Endings of files with judgements; each may be followed by ``.gz``."""
SPLIT_NAMES = {"validation": "dev", "valid": "dev", "val": "dev", "development": "dev"}
"""Names that other projects give a split, and ours."""
SYNTHETIC = ".synthetic"
"""Before the ending of files whose queries an LLM wrote: ``queries.synthetic.jsonl``, ``qrels/dev.synthetic.tsv``."""
_INTEGER = re.compile(r"[+-]?\d{1,9}(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)


def packed_or_plain(path: Path) -> Path:
    """Return ``path``, or ``path.gz`` if only that exists; of both, the plain file is used, with a warning."""
    packed = path.with_name(f"{path.name}.gz")
    if packed.is_file() and not path.is_file():
        return packed
    if packed.is_file():
        logger.warning("%s: %s lies beside it and is not read; remove one of them", path, packed.name)
    return path


def judgement_files(folder: Path) -> dict[str, Path]:
    """Return split name -> file with its judgements: those in ``qrels/``, else one ``qrels`` file in the folder itself.

    A split called validation, valid, val or development is dev; one that :func:`is_synthetic` has its name without
    that mark.

    Raises:
        DataError: The folder has no such file, or two of the same split.
    """
    inside = [path for path in sorted((folder / "qrels").glob("*")) if _ending(path)] if folder.is_dir() else []
    files: dict[str, Path] = {}
    for path in inside or [path for path in sorted(folder.glob("qrels.*")) if _ending(path) and path.is_file()]:
        stem = path.name.removesuffix(_ending(path)).removesuffix(SYNTHETIC)
        name = SPLIT_NAMES.get(stem.lower(), stem)
        if name in files:
            raise DataError(f"{files[name]} and {path} are both split '{name}'; keep one")
        files[name] = path
    if not files:
        raise DataError(
            f"{folder} has no judgements; add qrels/dev.tsv and qrels/test.tsv, or judge its queries with stm-agent "
            f"annotate --collection {folder}, or have queries written: stm-agent optimize --corpus {folder}"
        )
    return files


def is_synthetic(judgements: Path) -> bool:
    """Return whether the name of a file with judgements says that an LLM wrote its queries."""
    return judgements.name.removesuffix(_ending(judgements)).endswith(SYNTHETIC)


def query_files(folder: Path) -> list[Path]:
    """Return the files of a folder's queries: those that people wrote, those that an LLM wrote, or both."""
    plain = packed_or_plain(folder / "queries.jsonl")
    files = [plain, packed_or_plain(folder / f"queries{SYNTHETIC}.jsonl")]
    # If there is none, the first is named in the error.
    return [path for path in files if path.is_file()] or [plain]


def collection_files(folder: Path) -> list[Path]:
    """Return all files that decide what a BEIR folder holds."""
    try:
        judgements = list(judgement_files(folder).values())
    except DataError:
        judgements = []
    files = [packed_or_plain(folder / "corpus.jsonl"), *query_files(folder), *judgements]
    return [path for path in files if path.is_file()]


def offers_train(folder: Path) -> bool:
    """Return whether a BEIR folder has training pairs: a train split, or a single split that is cut into three."""
    try:
        names = judgement_files(folder).keys()
    except DataError:
        return False
    return "train" in names or (len(names) == 1 and names.isdisjoint(("dev", "test")))


def _ending(path: Path) -> str:
    """Return the ending of a file with judgements, with ``.gz`` if it has it; empty: it is another file."""
    plain = path.name.removesuffix(".gz")
    ending = Path(plain).suffix
    return path.name[len(plain) - len(ending) :] if ending in JUDGEMENTS and not path.name.startswith(".") else ""


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of all lines of a UTF-8 file, gzip or not, that are not blank.

    Raises:
        DataError: The file is missing, is not UTF-8 or is not gzip although its name says so.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; {LAYOUT}")
    number = begin = 0
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        try:
            for raw in stream:
                content = raw.removeprefix(BOM) if not begin else raw
                # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
                for part in content.rstrip(b"\r\n").split(b"\r"):
                    number += 1
                    line = part.decode()
                    if line.strip():
                        yield number, line
                begin += len(raw)
        except UnicodeDecodeError as error:
            byte = begin + error.start
            raise DataError(f"{path} is not UTF-8 (byte {byte}); convert it, for example with iconv") from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{path} is not a whole gzip file ({error}); pack it again") from error


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("file:line", row) of a JSONL file whose rows have a unique ``_id`` and a ``text``; ids become strings.

    Raises:
        DataError: The file is missing or malformed, or an id is repeated.
    """
    seen: dict[str, int] = {}
    for number, line in lines_of(path):
        location = f"{path}:{number}"
        row = json_object(line, location)
        if isinstance(row.get("_id"), int) and not isinstance(row["_id"], bool):
            row["_id"] = str(row["_id"])
        for field in ("_id", "text"):
            if not isinstance(row.get(field), str):
                raise DataError(f"{location} has no text field '{field}'; every row needs _id and text as strings")
        if row["_id"] in seen:
            raise DataError(f"{location} repeats id '{row['_id']}' of line {seen[row['_id']]}; make the ids unique")
        seen[row["_id"]] = number
        yield location, row


def json_object(line: str, location: str) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        DataError: The line is not JSON, or not an object.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{location} is not valid JSON ({error}); write one object a line") from error
    if not isinstance(row, dict):
        raise DataError(f"{location} is not an object; write one object with _id and text a line")
    return row


def read_queries(*paths: Path) -> dict[str, str]:
    """Return query id -> text of files like ``queries.jsonl``, judged or not.

    Raises:
        DataError: A file is missing, is not UTF-8 or is malformed; an id is repeated; a text is empty.
    """
    queries: dict[str, str] = {}
    for location, row in (entry for path in paths for entry in rows_of(path)):
        if not row["text"].strip():
            raise DataError(f"{location}: query '{row['_id']}' is empty; write its text or remove it")
        # What people judged since may be in both files.
        if queries.setdefault(row["_id"], row["text"]) != row["text"]:
            raise DataError(f"{location} repeats id '{row['_id']}' of another file; make the ids unique")
    return queries


def read_answers(path: Path) -> dict[str, str]:
    """Return query id -> answer of a ``queries.jsonl``, for queries whose ``metadata`` has one, as written here.

    Raises:
        DataError: The file is missing, is not UTF-8 or is malformed; an id is repeated.
    """
    metadata = {row["_id"]: row.get("metadata") for _location, row in rows_of(path)}
    answers = {key: entry.get("answer") for key, entry in metadata.items() if isinstance(entry, dict)}
    return {key: answer for key, answer in answers.items() if isinstance(answer, str) and answer.strip()}


def read_grades(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """Yield ("file:line", query, document, grade) of a file with judgements, without looking its ids up.

    Columns are query id, document id and score with tabs between, with or without a header; TREC's four columns
    (query, 0, document, grade) are read as well, and the separator of a first line ``sep=;`` as Excel writes it.

    Raises:
        DataError: The file is missing or not UTF-8; a line is not a judgement, or judges a pair a second time with
            another score.
    """
    judged: dict[tuple[str, str], int] = {}
    separator, header = "\t", True
    for number, line in lines_of(path):
        location = f"{path}:{number}"
        if number == 1 and (named := _SEPARATOR.fullmatch(line)):
            separator = named[1]
            continue
        query, document, score = _cells(line, separator, location)
        if _INTEGER.fullmatch(score):
            grade = int(float(score))
            if judged.setdefault((query, document), grade) != grade:
                raise DataError(
                    f"{location} judges '{query}' and '{document}' a second time, differently; keep one score"
                )
            yield location, query, document, grade
        elif not header or _NUMBER.fullmatch(score):
            raise DataError(f"{location} has score '{score}'; a score is an integer, scale the scores if need be")
        header = False


def _cells(line: str, separator: str, location: str) -> tuple[str, str, str]:
    """Return query, document and score of a line."""
    if separator == "\t":
        # Quotes are ordinary characters of an id.
        cells = line.split("\t")
        if len(cells) == 1 and len(line.split()) == 4:
            cells = line.split()
    else:
        cells = next(csv.reader([line], delimiter=separator))
    if len(cells) == 4 and (cells[1].strip().upper() in ("0", "Q0") or not _NUMBER.fullmatch(cells[3].strip())):
        # TREC: query, iteration, document, grade; the iteration is not used.
        del cells[1]
    if len(cells) != 3:
        raise DataError(f"{location} has {len(cells)} columns; write query id, corpus id and score with tabs between")
    return cells[0], cells[1], cells[2].strip()
