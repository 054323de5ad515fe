"""What an import brings, read whole before anybody's turn to write is taken: a large file keeps no one waiting."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stm_agent.annotate.formats.archive import DAMAGED
from stm_agent.annotate.formats.beir import Asked, read_asked
from stm_agent.annotate.formats.reviews import is_reviews, read_reviews
from stm_agent.annotate.formats.unzip import check_size
from stm_agent.annotate.reading import read_documents
from stm_agent.errors import DataError

MARKS = ("corpus.jsonl", "dataset_info.json", "dataset_dict.json")
"""Files that tell the folder of a collection or a data set."""


@dataclass(frozen=True)
class Incoming:
    """What is to be imported.

    Attributes:
        rows: ("file:line", row) of every document.
        asked: Queries and judgements beside them, of a BEIR folder that has any.
    """

    rows: Sequence[tuple[str, object]]
    asked: Asked | None = None


def read_incoming(path: Path, split: str | None = None) -> Incoming:
    """Read a file of documents, thumbs of a search page, a BEIR or ``datasets`` folder, or a zip of one of these.

    Args:
        path: What to read.
        split: The split of a BEIR folder whose queries come in; None: all queries.

    Raises:
        DataError: The path is missing, is not UTF-8, or is none of these, or has no such split.
    """
    if path.suffix.lower() == ".zip" and path.is_file():
        with _unzipped(path) as folder:
            return read_incoming(folder, split)
    if is_reviews(path):
        if split is not None:
            raise DataError(f"{path.name} has no splits; leave --split out")
        return Incoming(*read_reviews(path))
    asked = read_asked(path)
    if split is not None:
        if asked is None:
            raise DataError(f"{path.name} has no queries, so no split '{split}'; leave --split out")
        asked = asked.only(split)
    return Incoming(list(read_documents(path)), asked)


def is_archive(path: Path) -> bool:
    """Return whether a zip is the archive of a whole project."""
    try:
        with zipfile.ZipFile(path) as packed:
            return "project.json" in packed.namelist()
    except DAMAGED:
        return False


@contextmanager
def _unzipped(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scrap:
        folder = Path(scrap) / "unpacked"
        try:
            with zipfile.ZipFile(path) as packed:
                check_size(packed, path.stat().st_size, path.name)
                packed.extractall(folder)
        except DAMAGED as error:
            raise DataError(f"{path.name} cannot be unpacked: {error}") from error
        places = [folder, *sorted(one for one in folder.rglob("*") if one.is_dir())]
        found = next((place for place in places if any((place / mark).is_file() for mark in MARKS)), None)
        if found is None:
            raise DataError(f"{path.name} contains no BEIR folder (corpus.jsonl), no datasets folder and no project")
        try:
            yield found
        except DataError as error:
            # Where it was unpacked to says nothing to those who sent it.
            raise DataError(str(error).replace(str(folder), path.name)) from error
