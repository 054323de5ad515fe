"""FAISS: a folder with an index file, and the passages in the order of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stm_agent.deploy.engines.engine import IndexIdentity, Passage
from stm_agent.errors import StorageError
from stm_agent.files import TEMPORARY, append_jsonl, read_json, read_jsonl, remove_partial, storing, write_json

ABOUT, ROWS, VECTORS, INDEX = "about.json", "passages.jsonl", "vectors.f32", "index.faiss"
LINKS = 32
"""Neighbours of a node of an HNSW graph."""


class FaissFolder:
    """A folder: ``index.faiss``, ``passages.jsonl``, ``about.json``. Until it is finished, ``vectors.f32`` grows.

    Attributes:
        exact: False: an HNSW graph; otherwise all vectors are compared.
    """

    def __init__(self, folder: str, name: str, *, approximate: bool) -> None:
        """Use ``folder/name``."""
        self.folder, self.exact = Path(folder) / name, not approximate
        self._dimension = self._lines = 0
        self._rows: dict[str, int] | None = None
        self._index: Any = None

    def stored(self) -> dict[str, str | int] | None:
        """Return the identity in ``about.json``."""
        if not self.folder.is_dir() or all(path.name.startswith(TEMPORARY) for path in self.folder.iterdir()):
            return None
        about = self.folder / ABOUT
        identity = read_json(about) if about.is_file() else {}
        if not isinstance(identity, dict) or identity.keys() != {field.name for field in fields(IndexIdentity)}:
            return {}
        self._dimension = int(identity["dimension"])
        return identity

    def create(self, identity: IndexIdentity, *, replace: bool) -> None:
        """Make the folder; with ``replace`` only an index of this program is removed."""
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_partial(self.folder)
            if replace:
                others = [path.name for path in self.folder.iterdir() if path.name not in (ABOUT, ROWS, VECTORS, INDEX)]
                if others:
                    raise StorageError(f"{self.folder} holds other files, such as {others[0]}; give another --name")
            for name in (INDEX, VECTORS, ROWS):
                (self.folder / name).unlink(missing_ok=True)
        self._dimension, self._rows = identity.dimension, None
        write_json(self.folder / ABOUT, identity.to_json())

    def written(self) -> int:
        """Return the passages that are stored with their vector."""
        return len(self._stored_rows())

    def write(self, passages: Sequence[Passage]) -> None:
        """Append a batch, after cutting off what a killed process left of the same batch."""
        if (self.folder / INDEX).is_file():
            return
        begin = self._stored_rows().get(passages[0].document, self.written())
        self._cut(begin)
        rows = [{"document": row.document, "title": row.title, "text": row.text} for row in passages]
        with storing(self.folder), (self.folder / VECTORS).open("ab") as stream:
            stream.write(np.stack([row.vector for row in passages]).astype("<f4").tobytes())
        append_jsonl(self.folder / ROWS, *rows)
        self._stored_rows().update({row.document: begin + number for number, row in enumerate(passages)})
        self._lines += len(passages)

    def _stored_rows(self) -> dict[str, int]:
        """Return document -> row of the passages that are stored with their vector; the files are read once."""
        if self._rows is None:
            documents = [str(row["document"]) for row in read_jsonl(self.folder / ROWS)]
            whole = self._lines = len(documents)
            if not (self.folder / INDEX).is_file():
                path = self.folder / VECTORS
                whole = min(whole, path.stat().st_size // (4 * self._dimension) if path.is_file() else 0)
            self._rows = {document: row for row, document in enumerate(documents[:whole])}
        return self._rows

    def _cut(self, rows: int) -> None:
        """Keep the first rows of both files."""
        path = self.folder / VECTORS
        if path.is_file() and path.stat().st_size > 4 * self._dimension * rows:
            with path.open("r+b") as stream:
                stream.truncate(4 * self._dimension * rows)
        if self._lines > rows:
            stored = read_jsonl(self.folder / ROWS)[:rows]
            (self.folder / ROWS).unlink()
            if rows:
                append_jsonl(self.folder / ROWS, *stored)
            self._lines = rows
            self._rows = {document: row for document, row in self._stored_rows().items() if row < rows}

    def finish(self) -> None:
        """Make the index file of the vectors; it is written whole, under a temporary name first."""
        import faiss

        if (self.folder / INDEX).is_file():
            return
        vectors = np.fromfile(self.folder / VECTORS, dtype="<f4").reshape(-1, self._dimension)
        index: Any = faiss.IndexFlatIP(self._dimension)
        if not self.exact:
            index = faiss.IndexHNSWFlat(self._dimension, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.add(vectors)
        partial = self.folder / f".partial-{INDEX}"
        with storing(self.folder):
            faiss.write_index(index, str(partial))
            partial.replace(self.folder / INDEX)
            (self.folder / VECTORS).unlink()

    def search(self, vector: NDArray[np.float32], top: int) -> list[str]:
        """Return the nearest rows by inner product."""
        import faiss

        if self._index is None:
            self._index = faiss.read_index(str(self.folder / INDEX))
            self._documents = [str(row["document"]) for row in read_jsonl(self.folder / ROWS)]
        _, rows = self._index.search(vector[None], top)
        return [self._documents[row] for row in rows[0] if row >= 0]

    def close(self) -> None:
        """Forget the index."""
        self._index = None
