"""General guard tasks that come with the package, fixed by the hash of their content.

A guard shows what a model forgets, so it must be the same in every run, whichever Python or library is installed.
``scripts/freeze_guards.py`` made the files; ``frozen/NOTICE`` names their licences.
"""

from __future__ import annotations

import json
from pathlib import Path

from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.collection_spec import FrozenCollection
from stm_agent.errors import DataError
from stm_agent.files import sha256_file

FOLDER = Path(__file__).resolve().parent / "frozen"

SHA256 = {
    "python-docs": "b8935dbf010e184182520d8f46c8d58087127c87c7d640decce481c5258d2687",
    "wordnet": "3828996a7df3fad1c3e1911c72006e365f81110634efe43ae3d43db015fb30d6",
}
"""Kind of collection -> hash of its file."""

ABOUT = {
    "python-docs": ("PSF-2.0", "Python 3.11.7 standard library, docstrings"),
    "wordnet": ("WordNet 3.0 licence", "WordNet 3.0 (Princeton University), words and definitions"),
}
"""Kind of collection -> licence and source."""


def read_frozen(spec: FrozenCollection) -> Collection:
    """Read a task.

    Args:
        spec: Which one, and how many of its documents.

    Returns:
        Documents without titles, one query each; every other one is dev, the rest test.

    Raises:
        DataError: The file is missing or was changed.
    """
    path = FOLDER / f"{spec.kind}.jsonl"
    if not path.is_file() or sha256_file(path) != SHA256[spec.kind]:
        raise DataError(f"{path} is missing or was changed; install stm-agent again")
    lines = path.read_text(encoding="utf-8").split("\n")[: spec.documents]
    rows = [json.loads(line) for line in lines]
    documents = tuple(Document(row["_id"], "", row["text"]) for row in rows)
    queries = {row["_id"]: row["query"] for row in rows}
    names = list(queries)
    splits = {name: _split(name, names[start::2], queries) for start, name in enumerate(("dev", "test"))}
    return Collection(spec.kind, documents, splits, *ABOUT[spec.kind])


def _split(name: str, ids: list[str], queries: dict[str, str]) -> Split:
    return Split(name, {key: queries[key] for key in ids}, {key: {key: 1} for key in ids})
