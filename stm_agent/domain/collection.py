"""A collection: corpus, queries and graded judgements, in memory and in BEIR layout.

BEIR layout (Thakur et al. 2021): ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``,
``text``) and ``qrels/<split>.tsv`` (query id, corpus id, integer score; a header line is allowed).
``collection.json`` with name, licence and source is our own addition and optional.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stm_agent.domain.text import normalise as normalise
from stm_agent.domain.text import share as share
from stm_agent.errors import DataError
from stm_agent.files import content_hash, read_json, whole_folder, write_atomic, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Document:
    """One passage of a corpus; ``title`` may be empty."""

    id: str
    title: str
    text: str

    @property
    def full(self) -> str:
        """Title and text in one: what BM25 and encoders see."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True)
class Split:
    """The judged queries of one split.

    Attributes:
        name: ``train``, ``dev`` or ``test`` (other names are kept as they are).
        queries: Query id -> text; each has at least one document with a score above 0.
        qrels: Query id -> document id -> integer grade.
    """

    name: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]

    def only(self, queries: Iterable[str], name: str) -> Split:
        """Return a part of the split, with its queries in their order here."""
        wanted = frozenset(queries)
        chosen = {query: text for query, text in self.queries.items() if query in wanted}
        return Split(name, chosen, {query: self.qrels[query] for query in chosen})


@dataclass(frozen=True)
class Collection:
    """A corpus with its judged splits.

    Attributes:
        name: Short name, for reports.
        documents: The corpus, in a fixed order, ids unique.
        splits: Judged queries by split name.
        licence: Licence of the data, as its authors name it.
        source: Where the data comes from, with its version.
    """

    name: str
    documents: tuple[Document, ...]
    splits: Mapping[str, Split]
    licence: str
    source: str

    @property
    def texts(self) -> dict[str, str]:
        """Document id -> full text, in corpus order."""
        return {document.id: document.full for document in self.documents}

    @cached_property
    def content_hash(self) -> str:
        """Hash over documents and splits; name, licence and source do not count."""
        documents = [(document.id, document.title, document.text) for document in self.documents]
        splits = {name: (dict(split.queries), dict(split.qrels)) for name, split in self.splits.items()}
        return content_hash({"documents": documents, "splits": splits})


def read_beir(folder: Path, name: str | None = None) -> Collection:
    """Read a collection in BEIR layout and check all of it.

    Args:
        folder: Holds ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/``.
        name: Name of the collection; default: ``collection.json``'s, else the folder's.

    Raises:
        DataError: A file is missing, is not UTF-8 or is malformed; ids are repeated or missing; the
            corpus is empty; a judged query has no document with a score above 0.
    """
    if not folder.is_dir():
        raise DataError(f"collection folder {folder} does not exist; name a folder in BEIR layout")
    documents = _read_corpus(folder / "corpus.jsonl")
    queries = read_queries(folder / "queries.jsonl")
    files = sorted((folder / "qrels").glob("*.tsv"))
    if not files:
        raise DataError(f"{folder} has no judgements; add qrels/dev.tsv and qrels/test.tsv")
    corpus_ids = frozenset(document.id for document in documents)
    splits = {path.stem: _read_split(path, queries, corpus_ids) for path in files}
    about = _read_about(folder / "collection.json")
    return Collection(
        name=name or about.get("name") or folder.resolve().name,
        documents=documents,
        splits=splits,
        licence=about.get("licence", "not stated"),
        source=about.get("source", folder.resolve().name),
    )


def write_beir(
    collection: Collection, folder: Path, *, metadata: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """Write a collection in BEIR layout; the folder appears only when it is complete.

    Args:
        collection: The collection.
        folder: The folder to write; it must not exist.
        metadata: Query id -> what ``queries.jsonl`` stores with its text, such as an answer.

    Raises:
        StorageError: The disk is full or not writable.
    """
    queries = {key: text for split in collection.splits.values() for key, text in split.queries.items()}
    with whole_folder(folder) as partial:
        rows = ({"_id": item.id, "title": item.title, "text": item.text} for item in collection.documents)
        write_atomic(partial / "corpus.jsonl", _jsonl(rows))
        query_rows = ({"_id": key, "text": text} | _metadata_of(key, metadata) for key, text in queries.items())
        write_atomic(partial / "queries.jsonl", _jsonl(query_rows))
        for split in collection.splits.values():
            lines = [f"{query}\t{doc}\t{grade}\n" for query, row in split.qrels.items() for doc, grade in row.items()]
            write_atomic(partial / "qrels" / f"{split.name}.tsv", "query-id\tcorpus-id\tscore\n" + "".join(lines))
        about = {"name": collection.name, "licence": collection.licence, "source": collection.source}
        write_json(partial / "collection.json", about)
    return folder


def _metadata_of(query: str, metadata: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    entry = (metadata or {}).get(query)
    return {"metadata": dict(entry)} if entry else {}


def _jsonl(rows: Iterator[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of all lines that are not blank."""
    if not path.is_file():
        raise DataError(f"{path} is missing; a BEIR folder needs corpus.jsonl, queries.jsonl and qrels/<split>.tsv")
    try:
        # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it, for example with iconv") from error
    yield from ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("file:line", row) of a JSONL file whose rows have a unique text ``_id`` and a ``text``."""
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        location = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{location} is not valid JSON ({error}); write one object a line") from error
        if not isinstance(row, dict):
            raise DataError(f"{location} is not an object; write one object with _id and text a line")
        for field in ("_id", "text"):
            if not isinstance(row.get(field), str):
                raise DataError(f"{location} has no text field '{field}'; every row needs _id and text as strings")
        if row["_id"] in seen:
            raise DataError(f"{location} repeats id '{row['_id']}' of line {seen[row['_id']]}; make the ids unique")
        seen[row["_id"]] = number
        yield location, row


def _read_corpus(path: Path) -> tuple[Document, ...]:
    documents = []
    for location, row in _rows(path):
        title = row.get("title") or ""
        if not isinstance(title, str):
            raise DataError(f"{location} has a title that is not a string; quote it or leave it out")
        documents.append(Document(row["_id"], title, row["text"]))
    if not documents:
        raise DataError(f"{path} has no documents; add one object with _id, title and text a line")
    empty = sum(not document.full for document in documents)
    if empty:
        logger.warning("%s: %d of %d documents are empty", path, empty, len(documents))
    return tuple(documents)


def read_queries(path: Path) -> dict[str, str]:
    """Return query id -> text of a ``queries.jsonl``, judged or not.

    Raises:
        DataError: The file is missing, is not UTF-8 or is malformed; an id is repeated; a text is empty.
    """
    queries = {}
    for location, row in _rows(path):
        if not row["text"].strip():
            raise DataError(f"{location}: query '{row['_id']}' is empty; write its text or remove it")
        queries[row["_id"]] = row["text"]
    return queries


def read_answers(path: Path) -> dict[str, str]:
    """Return query id -> answer of a ``queries.jsonl``, for queries whose ``metadata`` has one, as written here.

    Raises:
        DataError: The file is missing, is not UTF-8 or is malformed; an id is repeated.
    """
    metadata = {row["_id"]: row.get("metadata") for _location, row in _rows(path)}
    answers = {key: entry.get("answer") for key, entry in metadata.items() if isinstance(entry, dict)}
    return {key: answer for key, answer in answers.items() if isinstance(answer, str) and answer.strip()}


def read_grades(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """Yield ("file:line", query, document, grade) of a ``qrels/<split>.tsv``, without looking its ids up.

    Raises:
        DataError: The file is missing or not UTF-8; a line is not a judgement, or judges a pair a second time with
            another score.
    """
    judged: dict[tuple[str, str], int] = {}
    for number, line in _lines(path):
        location = f"{path}:{number}"
        cells = line.rstrip("\r").split("\t")
        if len(cells) != 3:
            raise DataError(
                f"{location} has {len(cells)} columns; write query id, corpus id and score with tabs between"
            )
        query, document, grade = cells
        if re.fullmatch(r"-?\d{1,9}", grade.strip()):
            if judged.setdefault((query, document), int(grade)) != int(grade):
                raise DataError(
                    f"{location} judges '{query}' and '{document}' a second time, differently; keep one score"
                )
            yield location, query, document, int(grade)
        elif number > 1:
            raise DataError(f"{location} has score '{grade}'; a score is an integer")


def _read_split(path: Path, queries: Mapping[str, str], corpus_ids: frozenset[str]) -> Split:
    qrels: dict[str, dict[str, int]] = {}
    for location, query, document, grade in read_grades(path):
        if query not in queries:
            raise DataError(f"{location} names query '{query}', which queries.jsonl lacks; add it or remove the line")
        if document not in corpus_ids:
            raise DataError(
                f"{location} names document '{document}', which corpus.jsonl lacks; add it or remove the line"
            )
        qrels.setdefault(query, {})[document] = grade
    if not qrels:
        raise DataError(f"{path} has no judgements; add lines of query id, corpus id and score, or remove the file")
    unanswered = [query for query, grades in qrels.items() if max(grades.values()) <= 0]
    if unanswered:
        raise DataError(
            f"{path}: query '{unanswered[0]}' ({len(unanswered)} in all) has no score above 0; judge it or remove it"
        )
    return Split(path.stem, {query: queries[query] for query in qrels}, qrels)


def _read_about(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    about = read_json(path)
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise DataError(f"{path} must be one object of strings (name, licence, source); correct or remove it")
    return about
