"""What an import brings, read whole before anybody's turn to write is taken: a large file keeps no one waiting."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.annotate.formats.archive import UNZIPPED
from stm_agent.annotate.reading import read_documents
from stm_agent.errors import DataError

if TYPE_CHECKING:
    from stm_agent.domain.collection import Collection

MARKS = ("corpus.jsonl", "dataset_info.json", "dataset_dict.json")
"""Files that tell the folder of a collection or a data set."""


@dataclass(frozen=True)
class Incoming:
    """What is to be imported.

    Attributes:
        rows: ("file:line", row) of every document.
        collection: Queries and judgements beside them, of a BEIR folder that has any.
    """

    rows: list[tuple[str, Any]]
    collection: Collection | None = None


def read_incoming(path: Path) -> Incoming:
    """Read a file of documents, a BEIR folder, a ``datasets`` folder, or a zip of one of these.

    Raises:
        DataError: The path is missing, is not UTF-8, or is none of these.
    """
    if path.suffix.lower() == ".zip" and path.is_file():
        with _unzipped(path) as folder:
            return read_incoming(folder)
    collection = None
    if (path / "qrels").is_dir():
        from stm_agent.domain.collection import read_beir

        collection = read_beir(path)
    return Incoming(list(read_documents(path)), collection)


def is_archive(path: Path) -> bool:
    """Return whether a zip is the archive of a whole project."""
    try:
        with zipfile.ZipFile(path) as packed:
            return "project.json" in packed.namelist()
    except zipfile.BadZipFile:
        return False


@contextmanager
def _unzipped(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scrap:
        try:
            with zipfile.ZipFile(path) as packed:
                if sum(one.file_size for one in packed.infolist()) > UNZIPPED:
                    raise DataError(f"{path.name} unpacks to over {UNZIPPED:,} bytes; import its folder")
                packed.extractall(scrap)
        except (zipfile.BadZipFile, OSError, RuntimeError) as error:
            raise DataError(f"{path.name} cannot be unpacked: {error}") from error
        places = [Path(scrap), *sorted(one for one in Path(scrap).rglob("*") if one.is_dir())]
        found = next((place for place in places if any((place / mark).is_file() for mark in MARKS)), None)
        if found is None:
            raise DataError(f"{path.name} holds no BEIR folder (corpus.jsonl), no datasets folder and no project")
        yield found
