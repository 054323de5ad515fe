"""Read and write collections in BEIR layout.

BEIR layout (Thakur et al. 2021): ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``,
``text``) and ``qrels/<split>.tsv`` (query id, corpus id, integer score; a header line is allowed).
``collection.json`` with name, licence and source is our own addition and optional. Files whose queries an LLM wrote
are called ``queries.synthetic.jsonl`` and ``qrels/<split>.synthetic.tsv``.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from stm_agent.domain.beir_files import (
    SYNTHETIC,
    is_synthetic,
    judgement_files,
    packed_or_plain,
    query_files,
    read_grades,
    read_queries,
    rows_of,
)
from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.text import NEAR_DUPLICATE, words_of
from stm_agent.errors import DataError
from stm_agent.files import read_json, whole_folder, write_atomic, write_json, write_jsonl

logger = logging.getLogger(__name__)
IGNORED = "ignored_ids"
"""Key of ``collection.json`` with the queries that are documents; written by :func:`write_beir`."""
SYNTHETIC_NOTE = "an LLM wrote them and nobody judged them, so scores compare models, not what people would find"
"""What the scores of synthetic splits are worth, as the end of a sentence."""


def read_beir(folder: Path, name: str | None = None) -> Collection:
    """Read a collection in BEIR layout and check all of it.

    Judgements that name missing ids, and queries without a relevant document, are left out and counted in a warning.

    Args:
        folder: Holds ``corpus.jsonl``, ``queries.jsonl`` (or both with ``.gz``) and ``qrels/``, or one ``qrels.tsv``.
        name: Name of the collection; default: ``collection.json``'s, else the folder's.

    Raises:
        DataError: A file is missing, is not UTF-8 or is malformed; ids are repeated; the corpus is empty; a split has
            no query with a relevant document.
    """
    if not folder.is_dir():
        raise DataError(f"collection folder {folder} does not exist; name a folder in BEIR layout")
    documents, notes = _read_corpus(packed_or_plain(folder / "corpus.jsonl"))
    queries = read_queries(*query_files(folder))
    corpus_ids = frozenset(document.id for document in documents)
    splits = {}
    for split, path in judgement_files(folder).items():
        read, left_out = _read_split(split, path, queries, corpus_ids)
        splits[split] = dataclasses.replace(read, synthetic=is_synthetic(path))
        notes += left_out
    about, ignored = _read_about(folder / "collection.json")
    splits = {split: _with_ignored_ids(splits[split], documents, ignored) for split in splits}
    notes += [f"{folder}: {note}" for note in _notes_of_splits(splits, queries)]
    for note in notes:
        logger.warning(note)
    return Collection(
        name=name or about.get("name") or folder.resolve().name,
        documents=documents,
        splits=splits,
        licence=about.get("licence", "not stated"),
        source=about.get("source", folder.resolve().name),
        notes=tuple(notes),
    )


def _notes_of_splits(splits: Mapping[str, Split], queries: Mapping[str, str]) -> Iterator[str]:
    if unjudged := queries.keys() - {query for split in splits.values() for query in split.queries}:
        yield f"{len(unjudged)} of {len(queries)} queries have no judgement to learn from; left out"
    if itself := sum(len(split.ignored_ids) for split in splits.values()):
        yield f"{itself} queries are documents; the document of a query's own id is not ranked"
    if synthetic := " and ".join(name for name, split in splits.items() if split.synthetic):
        yield f"the queries of {synthetic} are synthetic: {SYNTHETIC_NOTE}"


def write_beir(
    collection: Collection, folder: Path, *, metadata: Mapping[str, Mapping[str, object]] | None = None
) -> Path:
    """Write a collection in BEIR layout; the folder appears only when it is complete.

    Args:
        collection: The collection.
        folder: The folder to write; it must not exist.
        metadata: Query id -> what ``queries.jsonl`` stores with its text, such as an answer.

    Raises:
        StorageError: The disk is full or not writable.
    """
    with whole_folder(folder) as partial:
        rows = ({"_id": item.id, "title": item.title, "text": item.text} for item in collection.documents)
        write_jsonl(partial / "corpus.jsonl", rows)
        for mark in sorted({_mark(split) for split in collection.splits.values()} or {""}):
            queries = _marked_queries(collection, mark)
            query_rows = ({"_id": key, "text": text} | _metadata_of(key, metadata) for key, text in queries.items())
            write_jsonl(partial / f"queries{mark}.jsonl", query_rows)
        for split in collection.splits.values():
            _write_judgements(split, partial / "qrels" / f"{split.name}{_mark(split)}.tsv")
        about = {"name": collection.name, "licence": collection.licence, "source": collection.source}
        ignored = sorted({query for split in collection.splits.values() for query in split.ignored_ids})
        write_json(partial / "collection.json", {**about, IGNORED: ignored} if ignored else about)
    return folder


def _write_judgements(split: Split, path: Path) -> None:
    lines = [f"{query}\t{doc}\t{grade}\n" for query, row in split.qrels.items() for doc, grade in row.items()]
    write_atomic(path, "query-id\tcorpus-id\tscore\n" + "".join(lines))


def _mark(split: Split) -> str:
    return SYNTHETIC if split.synthetic else ""


def _marked_queries(collection: Collection, mark: str) -> dict[str, str]:
    own = (split.queries for split in collection.splits.values() if _mark(split) == mark)
    return {key: text for queries in own for key, text in queries.items()}


def _metadata_of(query: str, metadata: Mapping[str, Mapping[str, object]] | None) -> dict[str, object]:
    entry = (metadata or {}).get(query)
    return {"metadata": dict(entry)} if entry else {}


def _read_corpus(path: Path) -> tuple[tuple[Document, ...], list[str]]:
    documents = []
    for location, row in rows_of(path):
        title = row.get("title") or ""
        if not isinstance(title, str):
            raise DataError(f"{location} has a title that is not a string; quote it or leave it out")
        documents.append(Document(row["_id"], title, row["text"]))
    if not documents:
        raise DataError(f"{path} has no documents; add one object with _id, title and text a line")
    empty = sum(not document.full for document in documents)
    return tuple(documents), [f"{path}: {empty} of {len(documents)} documents are empty"] if empty else []


def _read_split(
    name: str, path: Path, queries: Mapping[str, str], corpus_ids: frozenset[str]
) -> tuple[Split, list[str]]:
    """Return the usable judgements of a file, and a line for each kind of judgement that is left out."""
    qrels: dict[str, dict[str, int]] = {}
    missing: dict[str, list[str]] = {"queries.jsonl": [], "corpus.jsonl": []}
    judgements = 0
    for _location, query, document, grade in read_grades(path):
        judgements += 1
        if query not in queries:
            missing["queries.jsonl"].append(query)
        elif document not in corpus_ids:
            missing["corpus.jsonl"].append(document)
        else:
            qrels.setdefault(query, {})[document] = grade
    if not judgements:
        raise DataError(f"{path} has no judgements; add lines of query id, corpus id and score, or remove the file")
    notes = [
        f"{path}: {len(ids)} of {judgements} judgements name ids that {file} lacks, such as '{ids[0]}'; left out"
        for file, ids in missing.items()
        if ids
    ]
    unanswered = [query for query, grades in qrels.items() if max(grades.values()) <= 0]
    if unanswered:
        notes.append(f"{path}: {len(unanswered)} queries, such as '{unanswered[0]}', have no score above 0; left out")
    for query in unanswered:
        del qrels[query]
    if not qrels:
        raise DataError(f"{path} has no judgement that can be used; correct it or remove it ({'; '.join(notes)})")
    return Split(name, {query: queries[query] for query in qrels}, qrels), notes


def _with_ignored_ids(split: Split, documents: Iterable[Document], ignored: frozenset[str] | None) -> Split:
    """Mark the queries that are documents: those named in ``collection.json``, else those with a document's text.

    Many collections count queries and documents from 1 each, so the same id alone says nothing.
    """
    if ignored is None:
        same = {document.id: document.full for document in documents if document.id in split.queries}
        ignored = frozenset(
            query
            for query, text in same.items()
            if split.qrels[query].get(query, 0) <= 0 and _is_document(split.queries[query], text)
        )
    return dataclasses.replace(split, ignored_ids=ignored & split.queries.keys())


def _is_document(query: str, document: str) -> bool:
    """Return whether a query is a document's text, with or without its title."""
    asked, written = words_of(query), words_of(document)
    return bool(asked) and len(asked & written) >= max(NEAR_DUPLICATE * len(asked), len(written) / 2)


def _read_about(path: Path) -> tuple[dict[str, str], frozenset[str] | None]:
    """Return name, licence and source, and the ids of queries that are documents (None: not stated)."""
    if not path.exists():
        return {}, None
    about = read_json(path)
    ignored = about.pop(IGNORED, None) if isinstance(about, dict) else None
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise DataError(f"{path} must be one object of strings (name, licence, source); correct or remove it")
    return about, None if ignored is None else frozenset(map(str, ignored))
