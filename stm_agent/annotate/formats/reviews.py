"""Thumbs of a search page (``stm-agent serve``): queries, the passages they were shown, and what people said."""

from __future__ import annotations

from pathlib import Path

from stm_agent.annotate.formats.beir import Asked
from stm_agent.files import read_jsonl, sha256_text

FIELDS = {"query", "negative", "answer", "document"}
GRADES = {"false_negative": 1, "negative": 0}
"""Grade of a passage that is relevant to its query, and of one that is not."""
SPLIT = "train"
"""People saw what a model ranked first, so these queries cannot measure models: they never become dev or test."""


def is_reviews(path: Path) -> bool:
    """Return whether a file holds thumbs of a search page."""
    if path.suffix != ".jsonl" or not path.is_file():
        return False
    with path.open("rb") as stream:
        # A file of documents may be large; its first line says what it is.
        first = stream.readline(1_000_000)
    return all(f'"{name}"'.encode() in first for name in FIELDS)


def read_reviews(path: Path) -> tuple[list[tuple[str, object]], Asked]:
    """Return the documents, as ("file:line", row), and the queries with their grades."""
    documents: dict[str, tuple[str, object]] = {}
    queries: dict[str, str] = {}
    grades: dict[str, dict[str, int]] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        if not row.keys() >= FIELDS or row["answer"] not in GRADES:
            continue
        text, document = str(row["query"]), str(row["document"])
        key = f"search-{sha256_text(text)[:12]}"
        queries[key] = text
        documents.setdefault(document, (f"{path.name}:{number}", {"_id": document, "text": row["negative"]}))
        grades.setdefault(key, {})[document] = GRADES[row["answer"]]
    return list(documents.values()), Asked(queries, {}, {SPLIT: grades})
