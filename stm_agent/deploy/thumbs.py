"""What people said of passages on the search page: one file of reviews that runs and the annotation tool read.

The file lies in ``reviews/`` of the workspace. The next run of ``optimize`` never trains on a liked passage as a
negative of its query, and a disliked one counts as a reviewed negative; ``stm-agent annotate import`` makes
queries, documents and judgements of it; as a training source, its liked passages are positives.
"""

from __future__ import annotations

import json
from pathlib import Path

from filelock import FileLock

from stm_agent.files import read_jsonl, storing, write_atomic
from stm_agent.mine.reviewed import FOLDER

RELEVANT, IRRELEVANT = "false_negative", "negative"
"""Answers of a review: the passage is relevant to the query, or is not."""


class Thumbs:
    """The judgement file of a run's search page, one row for each query and document; the last thumb counts."""

    def __init__(self, workspace: Path, run: str) -> None:
        """Use ``reviews/search-RUN.jsonl``, which the first thumb creates."""
        self.path = workspace / FOLDER / f"search-{run}.jsonl"

    def put(self, *, query: str, document: str, text: str, relevant: bool | None, seen_in: str) -> int:
        """Store a thumb, or with None take it back; return the number of thumbs in the file.

        Args:
            query: The words that were searched for.
            document: Id of the passage.
            text: Its text.
            relevant: Up, down, or taken back.
            seen_in: Model, mode and rank under which it was seen.

        Raises:
            StorageError: The file cannot be written.
        """
        with storing(self.path), self._locked():
            rows = [
                row for row in read_jsonl(self.path) if (row.get("query"), row.get("document")) != (query, document)
            ]
            if relevant is not None:
                answer = RELEVANT if relevant else IRRELEVANT
                row = {"query": query, "negative": text, "answer": answer, "document": document, "seen_in": seen_in}
                rows.append(row)
            write_atomic(self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return len(rows)

    def _locked(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))

    def of_query(self, query: str) -> dict[str, bool]:
        """Return document -> thumb of a query."""
        rows = (row for row in read_jsonl(self.path) if row.get("query") == query)
        return {str(row.get("document")): row.get("answer") == RELEVANT for row in rows}
